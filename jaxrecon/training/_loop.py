"""The loop of a run: what `Trainer.fit` does, one thing a method."""

import base64
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from jaxrecon.training._logs import Logs, Progress
from jaxrecon.training._preempt import Preempted, Preemption
from jaxrecon.training._sharding import place_batch, place_state, state_sharding
from jaxrecon.training._state import TrainState, create_state, network
from jaxrecon.training._step import TrainStep, evaluate_step, train_step
from jaxrecon.training._validation import draw, evaluate
from jaxrecon.training.input import Batches, Source
from jaxrecon.training.storage import Checkpoints

if TYPE_CHECKING:
    from jaxrecon.training._trainer import Trainer

_IN_FLIGHT = 2  # steps that the host may be ahead of the device, each holding its batch


class DivergedError(RuntimeError):
    """Training met nothing but losses or gradients that are not finite."""


class Trained(NamedTuple):
    """The outcome of a training.

    Attributes:
        net: the network after the last step, in evaluation mode, with averaged weights if the run
            kept them.
        graphdef: its static part.
        state: to go on from, or to evaluate.
        step: the number of steps done.
        stopped: "completed", or "early" if the validation did not get better any more.
        best_step: the step of the best checkpoint, if any; `Checkpoints.restore` reads it.
        figures: of the last validation.
    """

    net: Any
    graphdef: Any
    state: TrainState
    step: int
    stopped: str
    best_step: int | None
    figures: dict[str, float] | None


class Run:
    """One training, entered once: what changes while it goes on."""

    def __init__(
        self,
        trainer: "Trainer",
        net: nnx.Module,
        data: Any,
        validation: Source | None,
        *,
        key: Key[Array, ""],
        resume: bool,
    ):
        self.trainer, self.data, self.validation = trainer, data, validation
        self.graphdef, state = create_state(
            net,
            trainer.optimiser,
            key=key,
            ema=trainer.ema_decay is not None,
            trainable=trainer.trainable,
        )
        self.state = self._placed(state)
        self.compiled, self.loss_step = self._compile()
        evaluation = trainer.evaluation or trainer.loss
        self.evaluation = self._copied(evaluate_step(evaluation, manual=self._manual))
        self.resume = resume
        self.window: list[dict[str, Any]] = []
        self.best: float | None = None
        self.n_stale = 0
        self.figures: dict[str, float] | None = None
        self.batch_size = 0
        self.trace: contextlib.ExitStack | None = None

    def __enter__(self) -> "Run":
        first = jax.process_index() == 0
        with contextlib.ExitStack() as stack:
            self.preemption = stack.enter_context(Preemption())
            self.checkpoints = self._open_checkpoints()
            if self.checkpoints is not None:
                stack.callback(self.checkpoints.close)
            self.place = self._place()
            self._resume()
            self.step = int(self.state.step)
            self.logs = Logs(self.trainer.path() if first else None, self.step)
            stack.callback(self.logs.close)
            shown = self.trainer.progress if first else False
            self.progress = Progress(self.trainer.n_steps, self.step, shown=shown)
            stack.callback(self.progress.close)
            self.stack = stack.pop_all()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def train(self) -> Trained:
        """All steps that are left."""
        while self.step < self.trainer.n_steps and not self._out_of_patience():
            self._profile()
            self._one_step()
            if self._due(self.trainer.log_every):
                self._log()
            figures = self._validate() if self._due(self.trainer.validate_every) else None
            preempted = self.preemption.requested(self.step)
            if figures is not None or preempted or self._due(self.trainer.save_every):
                self._save(figures)
            if preempted:
                self._finish()
                raise Preempted(self.step)
        self._save(None)
        self._finish()
        return self._result()

    def _one_step(self) -> None:
        batch = next(self.data)
        self.place = self._place()
        if len(self.window) > _IN_FLIGHT:
            jax.block_until_ready(self.window[-_IN_FLIGHT])
        batch = place_batch(batch, self.trainer.mesh)
        self.batch_size = jax.tree.leaves(batch)[0].shape[0]
        self.state, metrics = self.compiled(self.loss_step, self.graphdef, self.state, batch)
        self.window.append(metrics)
        self.step += 1
        self.progress.update(self.step)

    def _log(self) -> None:
        """Means since the last line, of the steps that were not skipped.

        In double precision and over all of them at once, so that they don't depend on restarts.
        """
        window = self._window()
        self.window = []
        usable = [step for step in window if not step["skipped"]] or window
        figures = {name: sum(step[name] for step in usable) / len(usable) for name in window[0]}
        figures["skipped"] = sum(step["skipped"] for step in window) / len(window)
        if figures["skipped"] == 1:
            raise DivergedError(
                f"no step of the last {len(window)} up to {self.step} had a finite loss and "
                "gradient: lower the learning rate, clip the gradient, or look for NaN in the data"
            )
        now = time.perf_counter()
        figures["seconds_per_step"] = (now - self.started) / len(window)
        self.started = now
        self._write("train", figures)

    def _validate(self) -> dict[str, float] | None:
        if self.validation is None:
            return None
        figures = evaluate(
            self.evaluation,
            self.graphdef,
            self.state,
            self.validation,
            batch_size=self.trainer.evaluation_batch or self.batch_size,
            mesh=self.trainer.mesh,
        )
        self._judge(figures)
        self.figures = figures
        self._write("validation", figures)
        self._draw()
        self.started = time.perf_counter()
        return figures

    def _judge(self, figures: dict[str, float]) -> None:
        if self.trainer.monitor not in figures:
            raise ValueError(
                f"`monitor` is {self.trainer.monitor!r}, the validation has {sorted(figures)}"
            )
        value = figures[self.trainer.monitor]
        value = -value if self.trainer.mode == "max" else value
        better = not math.isnan(value) and (self.best is None or value < self.best)
        self.best, self.n_stale = (value, 0) if better else (self.best, self.n_stale + 1)

    def _draw(self) -> None:
        if self.trainer.pictures is None or self.validation is None:
            return
        path = self.trainer.path("pictures", f"step {self.step:08d}.png")
        file = path if jax.process_index() == 0 else None
        draw(self.trainer.pictures, self.graphdef, self.state, self.validation[0], file)

    def _save(self, figures: dict[str, float] | None) -> None:
        if self.checkpoints is None:
            return
        self.window = self._window()
        record = {
            "data": self.place,
            "window": list(self.window),  # written later, by another thread; ours goes on growing
            "best": self.best,
            "n_stale": self.n_stale,
            "figures": self.figures,
        }
        self.checkpoints.save(self.state, record, metrics=figures)

    def _resume(self) -> None:
        """Goes on from the newest checkpoint, if there is one."""
        if self.checkpoints is None:
            return
        if not self.resume and self.checkpoints.steps:
            raise ValueError(
                f"`resume` is False, but `folder` {self.trainer.folder} has checkpoints: remove "
                "them, or train in another folder"
            )
        found = self.checkpoints.restore(self.state)
        if found is None:
            return
        self.state, record = found
        self.data.set_state(_unpacked(record["data"]))
        self.place, self.window = record["data"], record["window"]
        self.best, self.n_stale = record["best"], record["n_stale"]
        self.figures = record["figures"]

    def _finish(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.wait()

    def _result(self) -> Trained:
        early = self.step < self.trainer.n_steps
        return Trained(
            net=network(self.graphdef, self.state),
            graphdef=self.graphdef,
            state=self.state,
            step=self.step,
            stopped="early" if early else "completed",
            best_step=None if self.checkpoints is None else self.checkpoints.best_step,
            figures=self.figures,
        )

    def _profile(self) -> None:
        if self.trainer.profile is None or jax.process_index() != 0:
            return
        first, last = self.trainer.profile
        if self.step + 1 == first:
            jax.profiler.start_trace(str(self.trainer.path("profile")))
            self.trace = self.stack.enter_context(contextlib.ExitStack())
            self.trace.callback(jax.profiler.stop_trace)
        elif self.step == last and self.trace is not None:
            jax.block_until_ready(self.state)
            self.trace.close()

    def _due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _out_of_patience(self) -> bool:
        return self.trainer.patience is not None and self.n_stale >= self.trainer.patience

    def _window(self) -> list[dict[str, float]]:
        return [{name: float(x) for name, x in metrics.items()} for metrics in self.window]

    def _write(self, kind: str, figures: dict[str, float]) -> None:
        self.logs.write(kind, self.step, figures)
        self.progress.update(self.step, figures)
        if self.trainer.on_log is not None:
            self.trainer.on_log(kind, self.step, figures)

    def _place(self) -> Any:
        return None if self.checkpoints is None else _packed(self.data.get_state())

    @property
    def _manual(self) -> Any:
        return self.trainer.mesh if self.trainer.manual else None

    def _placed(self, state: TrainState) -> TrainState:
        trainer = self.trainer
        if trainer.mesh is None:
            return state
        options = {"shard_params": trainer.shard_params, "min_size": trainer.min_shard_size}
        return place_state(state, state_sharding(state, trainer.mesh, **options))

    def _copied(self, step: Any) -> Any:
        """A step whose loss has its arrays on every device."""
        mesh = self.trainer.mesh
        return step if mesh is None else place_state(step, state_sharding(step, mesh))

    def _compile(self) -> tuple[Any, TrainStep]:
        trainer = self.trainer
        step = train_step(
            trainer.loss,
            trainer.optimiser,
            ema_decay=trainer.ema_decay,
            n_parts=trainer.n_parts,
            manual=self._manual,
        )
        options: dict[str, Any] = {"static_argnums": 1, "donate_argnums": 2}
        if trainer.mesh is not None:
            here = jax.tree.map(lambda x: x.sharding, self.state)
            whole = NamedSharding(trainer.mesh, PartitionSpec())
            options["out_shardings"] = (here, whole)
        return jax.jit(TrainStep.__call__, **options), self._copied(step)

    def _open_checkpoints(self) -> Checkpoints | None:
        folder = self.trainer.path("checkpoints")
        if folder is None:
            return None
        if jax.process_count() > 1 and not isinstance(self.data, Batches):
            raise ValueError(
                "`data` on several hosts must be `jaxrecon.training.input.Batches`, whose place is "
                "the same on all of them"
            )
        return Checkpoints(
            folder,
            keep_last=self.trainer.keep_last,
            keep_best=self.trainer.keep_best,
            monitor=None if self.validation is None else self.trainer.monitor,
            mode=self.trainer.mode,
        )


def _packed(place: Any) -> Any:
    """The place in the data as JSON: grain's older iterators give bytes."""
    return {"base64": base64.b64encode(place).decode()} if isinstance(place, bytes) else place


def _unpacked(place: Any) -> Any:
    if isinstance(place, dict) and set(place) == {"base64"}:
        return base64.b64decode(place["base64"])
    return place
