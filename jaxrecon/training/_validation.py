"""Figures and pictures of a set that is not trained on."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Key

from jaxrecon.training._sharding import place_batch, process_rows
from jaxrecon.training._state import TrainState, with_ema_as_params
from jaxrecon.training._step import EvaluateStep, callable_pytree, evaluate_step
from jaxrecon.training.input import Source, padded_batches

_compiled = jax.jit(EvaluateStep.__call__, static_argnums=1)


def evaluate(
    loss: Any,
    graphdef: nnx.GraphDef,
    state: TrainState,
    source: Source,
    *,
    batch_size: int,
    mesh: Mesh | None = None,
    manual: bool = False,
) -> dict[str, float]:
    """Means of the metrics and of the loss over a source, every example once.

    Args:
        loss: as for `train_step`, or an `EvaluateStep`.
        graphdef: of the network.
        state: of training.
        source: of examples.
        batch_size: of all hosts together.
        mesh: that splits the batches.
        manual: as for `Trainer`.
    """
    given = isinstance(loss, EvaluateStep)
    step: Any = loss if given else evaluate_step(loss, manual=mesh if manual else None)
    rows = None if mesh is None else process_rows(mesh, batch_size)
    totals: dict[str, float] = {}
    n = 0.0
    for i, (batch, valid) in enumerate(padded_batches(source, batch_size, rows)):
        batch, valid = place_batch((batch, valid), mesh)
        # A number of numpy's, not of Python's: it is data, and does not compile again.
        start = np.uint32(i * batch_size)
        sums, count = _compiled(step, graphdef, state, batch, valid, start)
        n += float(count)
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + float(value)
    return {name: total / n if n else math.nan for name, total in totals.items()}


def draw(
    pictures: Any, graphdef: nnx.GraphDef, state: TrainState, example: Any, file: Path | None
) -> None:
    """Writes truth and reconstructions of one example side by side, as PNG.

    Args:
        pictures: ``pictures(net, example, key) -> {"truth": image, name: image, ...}``.
        graphdef: of the network.
        state: of training.
        example: of the validation's source.
        file: to write; None computes only, in the processes that don't write.

    Raises:
        ValueError: no "truth" among the pictures.
    """
    images = dict(_draw(callable_pytree(pictures), graphdef, state, example, state.key))
    if "truth" not in images:
        raise ValueError(f"`pictures` gave {sorted(images)}, expected 'truth' and others beside it")
    if file is None:
        return
    from jaxrecon import viz

    file.parent.mkdir(parents=True, exist_ok=True)
    shown = {name: np.asarray(image) for name, image in images.items()}
    viz.save(viz.comparison(shown.pop("truth"), shown, title=file.stem), file)


def _draw_one(
    pictures: Any, graphdef: nnx.GraphDef, state: TrainState, example: Any, key: Key[Array, ""]
):
    state = with_ema_as_params(state)
    net = nnx.merge(graphdef, state.params, state.others)
    net.eval()
    return pictures(net, example, key)


_draw = jax.jit(_draw_one, static_argnums=1)
