"""The trainer: settings, and the loop that they describe.

It is small on purpose: what happens to the numbers is in `train_step`, what is stored in
`Checkpoints`, in which order data come in `Batches`; each of them can be used without it. A run
with a folder goes on from its newest checkpoint, with the same curve, to the last bit on CPU, as a
run that was never interrupted.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Key

from jaxrecon.training._loop import Run, Trained
from jaxrecon.training._state import create_state, network
from jaxrecon.training._step import Loss
from jaxrecon.training.input import Data, Source
from jaxrecon.training.storage import Checkpoints


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
    """How to train; `fit` does it.

    Attributes:
        loss: ``loss(net, example, key) -> (scalar, metrics)`` of one example; see `train_step`.
        optimiser: such as `adamw`; clipping is part of it.
        n_steps: the length of the training.
        folder: of checkpoints, logs, pictures and profiles; None keeps nothing.
        evaluation: like `loss`, for the validation; `loss` itself by default.
        evaluation_batch: examples at a time in the validation; as in training by default.
        ema_decay: keeps a moving average of the weights, which validation and result use.
        n_parts: parts of a batch worked off one after the other, with the gradients accumulated.
        mesh: devices to split batches over; see `data_mesh`.
        shard_params: whether to split the parameters too; see `state_sharding`.
        min_shard_size: elements from which on an array is split.
        manual: whether to split by `jax.shard_map`; see `train_step`.
        trainable: a filter of `flax.nnx` for what is trained.
        log_every: steps between lines in the log, each of the means since the last.
        validate_every: steps between validations; each is followed by a checkpoint.
        save_every: steps between further checkpoints.
        monitor: the figure of the validation that says which checkpoint is best.
        mode: whether a small or a large one is good.
        patience: validations without a better figure after which training stops.
        keep_last: newest checkpoints to keep.
        keep_best: best checkpoints to keep.
        pictures: ``pictures(net, example, key) -> {"truth": image, name: image}``, drawn of the
            first example of each validation; needs the extra ``viz``.
        profile: first and last step to trace with `jax.profiler`, into ``folder/profile``.
        progress: whether to show a bar; by default on a terminal, where `rich` is installed.
        on_log: called as ``on_log(kind, step, figures)`` with every line of the log.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxrecon.training.input import ArraySource, Batches
        >>> def loss(net, example, key):
        ...     return jnp.mean((net(example["x"]) - 2 * example["x"]) ** 2), {}
        >>> x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
        >>> trainer = Trainer(loss=loss, optimiser=optax.adam(0.1), n_steps=100)
        >>> net = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
        >>> trained = trainer.fit(net, Batches(ArraySource(x=x), 4), key=jax.random.key(0))
        >>> trained.stopped, bool(jnp.abs(trained.net.kernel[0, 0] - 2) < 0.01)
        ('completed', True)
    """

    loss: Loss
    optimiser: optax.GradientTransformation
    n_steps: int
    folder: str | os.PathLike[str] | None = None
    evaluation: Loss | None = None
    evaluation_batch: int | None = None
    ema_decay: float | None = None
    n_parts: int = 1
    mesh: Mesh | None = None
    shard_params: bool = False
    min_shard_size: int = 2**14
    manual: bool = False
    trainable: Any = nnx.Param
    log_every: int = 50
    validate_every: int = 500
    save_every: int | None = None
    monitor: str = "loss"
    mode: Literal["min", "max"] = "min"
    patience: int | None = None
    keep_last: int = 2
    keep_best: int = 1
    pictures: Callable[[Any, Any, Any], dict[str, Any]] | None = None
    profile: tuple[int, int] | None = None
    progress: bool | None = None
    on_log: Callable[[str, int, dict[str, float]], None] | None = None

    def fit(
        self,
        net: nnx.Module,
        data: Data | Iterator[Any],
        validation: Source | None = None,
        *,
        key: Key[Array, ""],
        resume: bool = True,
    ) -> Trained:
        """Trains a network.

        The network given is not changed; the trained one is in the result.

        Args:
            net: to start from.
            data: batches, dicts of arrays with examples along the first axis; each host's rows.
            validation: examples that are not trained on.
            key: the root of all randomness.
            resume: whether to go on from the newest checkpoint in the folder.

        Raises:
            Preempted: SIGTERM came, and everything is saved; a `SystemExit` with status 143.
            DivergedError: no step since the last line of the log had a finite gradient.
            MismatchError: the folder's checkpoints are of another architecture; names the first
                array that differs.
            ValueError: settings that contradict each other.
        """
        self._check(data, validation)
        with Run(self, net, data, validation, key=key, resume=resume) as run:
            return run.train()

    def best(self, net: nnx.Module) -> Any:
        """The network of the best checkpoint in the folder, in evaluation mode.

        Args:
            net: of the same architecture; it is not changed.

        Raises:
            ValueError: there is no folder, or no checkpoint in it that was validated.
            MismatchError: as `fit`.
        """
        folder = self.path("checkpoints")
        if folder is None:
            raise ValueError("`folder` is None: nothing was kept")
        graphdef, state = create_state(
            net,
            self.optimiser,
            key=jax.random.key(0),
            ema=self.ema_decay is not None,
            trainable=self.trainable,
        )
        checkpoints = Checkpoints(folder, monitor=self.monitor, mode=self.mode)
        with contextlib.closing(checkpoints):
            found = checkpoints.restore(state, "best")
        assert found is not None
        return network(graphdef, found[0])

    def path(self, *names: str) -> Path | None:
        """Of something in the run's folder."""
        return None if self.folder is None else Path(self.folder).joinpath(*names)

    def _check(self, data: Any, validation: Source | None) -> None:
        for name in ("n_steps", "log_every", "validate_every", "n_parts"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}, expected at least 1")
        for name in ("patience", "pictures", "evaluation"):
            if validation is None and getattr(self, name) is not None:
                raise ValueError(f"`{name}` needs a `validation` set")
        for name in ("profile", "pictures"):
            if self.folder is None and getattr(self, name) is not None:
                raise ValueError(f"`{name}` needs a `folder` to write to")
        if self.mesh is None and (self.manual or self.shard_params):
            raise ValueError("`manual` and `shard_params` need a `mesh`")
        if self.folder is not None and not hasattr(data, "get_state"):
            raise ValueError(
                "`data` has no `get_state`, so that its place cannot be stored: pass "
                "`jaxrecon.training.input.Batches`, an iterator of grain, or no `folder`"
            )
