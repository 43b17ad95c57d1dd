"""Checkpoints of training: written in the background, whole or not at all, and refused by name.

One folder a step, ``folder/<step>/``, written by orbax under another name and renamed when it is
complete, so that a process that dies while writing leaves nothing that looks like a checkpoint. In
it are the arrays, by the names of `leaf_names`, and one JSON record: names, shapes and dtypes of
the arrays, and whatever else the caller must know to go on, the place in the data above all.
"""

import math
import os
import warnings
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.nets.storage._files import Leaves, MismatchError, check_leaves
from jaxrecon.training._state import from_numbers, leaf_names, to_numbers

_ARRAYS, _RECORD = "arrays", "record"


class Checkpoints:
    """The checkpoints of one run in a folder.

    Args:
        folder: made if it does not exist.
        keep_last: how many of the newest to keep.
        keep_best: how many of the best to keep besides, by `monitor`.
        monitor: the metric that says which is best; None: the newest is.
        mode: whether a small or a large metric is good.

    Raises:
        ValueError: nothing would be kept.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        monitor: str | None = "loss",
        mode: Literal["min", "max"] = "min",
    ):
        import orbax.checkpoint as ocp

        if keep_last < 1:
            raise ValueError(f"`keep_last` is {keep_last}, expected at least 1 to restart from")
        self.folder = Path(folder).absolute()
        policy = ocp.checkpoint_managers
        kept: list[Any] = [policy.LatestN(keep_last)]
        self._monitor, self._worst = monitor, math.inf if mode == "min" else -math.inf
        if monitor is not None and keep_best:
            # Orbax sorts, "reversed" or not, and keeps the last.
            best = {"n": keep_best, "reverse": mode == "min"}
            kept.append(policy.BestN(get_metric_fn=lambda m: m[monitor], **best))
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=None if monitor is None else lambda m: m[monitor],
                best_mode=mode,
                preservation_policy=policy.AnyPreservationPolicy(kept),
                cleanup_tmp_directories=True,
            ),
        )
        self._args = ocp.args

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints there are, in increasing order."""
        return sorted(self._manager.all_steps())

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint, or None if none has the metric."""
        step = self._manager.best_step()
        if step is None or self._monitor is None:
            return step
        metrics = self._manager.metrics(step) or {}
        return None if metrics.get(self._monitor) == self._worst else step

    def save(
        self, state: PyTree, record: dict[str, Any], *, metrics: dict[str, float] | None = None
    ) -> None:
        """Starts to write a checkpoint of ``state.step``; nothing if it is there already.

        Args:
            state: of training. It may be donated to the next step at once.
            record: what else is needed to go on; JSON.
            metrics: of a validation, with the monitored one; without it, or if it is NaN, the
                checkpoint counts as the worst.
        """
        step = int(state.step)
        if step in self.steps:
            return
        names = leaf_names(state)
        leaves = jax.tree.leaves(to_numbers(state))
        contents = {"leaves": describe(state), "record": record}
        # A dict from names to arrays: what orbax makes of other containers changes with versions.
        args = self._args.Composite(
            **{
                _ARRAYS: self._args.StandardSave(dict(zip(names, leaves, strict=True))),
                _RECORD: self._args.JsonSave(contents),
            }
        )
        self._manager.save(step, args=args, metrics=self._ranked(metrics), force=True)

    def _ranked(self, metrics: dict[str, float] | None) -> dict[str, float] | None:
        if self._monitor is None:
            return metrics
        value = (metrics or {}).get(self._monitor, math.nan)
        return {**(metrics or {}), self._monitor: self._worst if math.isnan(value) else value}

    def wait(self) -> None:
        """Until everything is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then releases what orbax holds."""
        self._manager.close()

    def restore(
        self, like: PyTree, step: int | Literal["last", "best"] = "last"
    ) -> tuple[PyTree, dict[str, Any]] | None:
        """A state and its record; None if there is no checkpoint.

        With "last", a checkpoint that cannot be read is passed over, with a warning, for the one
        before it.

        Args:
            like: a state of the same architecture, whose arrays say where to put the new ones; the
                devices need not be those of the run that wrote them.
            step: which.

        Raises:
            MismatchError: the checkpoint is of another architecture; names the first leaf that
                differs.
            ValueError: the step asked for does not exist, or none can be read.
        """
        self.wait()
        if step == "last":
            return self._newest(like)
        chosen = self.best_step if step == "best" else step
        if chosen not in self.steps:
            raise ValueError(f"`step` is {step!r}, {self.folder} has {self.steps}")
        return self._read(like, chosen)

    def _newest(self, like: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
        for step in reversed(self.steps):
            try:
                return self._read(like, step)
            except MismatchError:
                raise
            except Exception as error:  # whatever orbax and tensorstore raise for broken files
                reason = str(error).strip().split("\n")[0][:200]
                warnings.warn(
                    f"the checkpoint {self.folder / str(step)} cannot be read ({reason}): "
                    "taking the one before it",
                    stacklevel=3,
                )
        if self.steps:
            raise ValueError(f"`folder` {self.folder}: no checkpoint in it can be read")
        return None

    def _read(self, like: PyTree, step: int) -> tuple[PyTree, dict[str, Any]]:
        restore = self._manager.restore
        record = self._args.Composite(**{_RECORD: self._args.JsonRestore()})
        contents = restore(step, args=record)[_RECORD]
        check_leaves(contents["leaves"], describe(like), str(self.folder / str(step)))
        names, numbers = leaf_names(like), to_numbers(like)
        wanted = dict(zip(names, map(_struct, jax.tree.leaves(numbers)), strict=True))
        arrays = self._args.Composite(**{_ARRAYS: self._args.StandardRestore(wanted)})
        values = restore(step, args=arrays)[_ARRAYS]
        state = jax.tree.unflatten(jax.tree.structure(like), [values[name] for name in names])
        return from_numbers(state, like), contents["record"]


def describe(tree: PyTree) -> Leaves:
    """Name, shape and dtype of every leaf; random keys as their bits."""
    leaves = jax.tree.leaves(to_numbers(tree))
    return [
        (name, list(jnp.shape(x)), jnp.result_type(x).name)
        for name, x in zip(leaf_names(tree), leaves, strict=True)
    ]


def _struct(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=x.sharding)
