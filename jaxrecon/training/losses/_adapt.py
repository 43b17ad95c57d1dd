"""Training on one measurement: test-time adaptation, zero-shot learning, untrained networks.

The measured units are split once into those for training and those held out. The network is trained
with any loss on the first, judged now and then on the second, and the weights that did best there
are kept: training longer than that fits the noise, or whatever the network cannot know. The result
is used on the whole measurement.

Source: zero-shot self-supervised learning, Yaman, Hosseini and Akcakaya, ICLR 2022; test-time
training for reconstruction, Darestani, Liu and Heckel, ICML 2022; early stopping of untrained
networks by held-out data, Wang et al., Trans. Mach. Learn. Res. 2023.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import pytree
from jaxrecon.training._state import TrainState, create_state, network
from jaxrecon.training._step import TrainStep, train_step
from jaxrecon.training.losses._loss import Batch, Metrics, as_pytree
from jaxrecon.training.losses.image import normalised_l1_l2
from jaxrecon.training.losses.image._pixel import Distance
from jaxrecon.training.losses.self_supervised import SSDU, UniformSplit, restrict, units
from jaxrecon.training.losses.self_supervised._rows import weigh
from jaxrecon.training.losses.self_supervised._splits import split_units
from jaxrecon.training.losses.self_supervised._ssdu import split_loss


class Adaptation(NamedTuple):
    """A network adapted to one measurement.

    Attributes:
        net: the adapted network, with the best weights met.
        losses: of every training step done.
        validation: the distance on held-out units, at the start and after every check; empty where
            nothing was held out.
        best_step: after how many steps the kept weights were reached.
        stopped: whether the held-out distance ended it before `n_steps`.
    """

    net: Any
    losses: np.ndarray
    validation: np.ndarray
    best_step: int
    stopped: bool


def adapt(
    net: nnx.Module,
    A: Any,
    y: PyTree,
    loss: Any,
    *,
    key: Key[Array, ""],
    optimiser: optax.GradientTransformation | None = None,
    n_steps: int = 300,
    holdout: Any = UniformSplit(0.2),  # noqa: B008
    distance: Distance = normalised_l1_l2,
    check_every: int = 1,
    patience: int = 25,
    n_keys: int | None = None,
    trainable: Any = nnx.Param,
) -> Adaptation:
    """Trains a network on one measurement, and stops when held-out units say so.

    Args:
        net: ``net(A, y) -> x``; it stays as it is, a copy is trained. An untrained network that
            ignores y (deep image prior) will do, with `MeasurementConsistency` as its loss.
        A: the scan.
        y: its measurement.
        loss: ``loss(net, batch, key)``, given the training units as batch["y"] and batch["A"].
        key: random key.
        optimiser: Adam with step 1e-4 if None. Pass one and the same for many measurements: a
            new one compiles again.
        n_steps: training steps at most.
        holdout: split of which the kept units train and the other ones judge; None holds out
            nothing and does all steps.
        distance: of held-out measurements.
        check_every: steps between two judgements.
        patience: judgements without improvement that end the training.
        n_keys: how many keys the loss is given in turn, so that a loss that draws masks goes
            through so many of them again and again (zero-shot learning); None draws anew each step.
        trainable: a filter of `flax.nnx` for what is trained: a few layers often suffice.

    Returns:
        The adapted network with its history.

    Raises:
        ValueError: a count below 1.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.training.losses import MeasurementConsistency
        >>> class Constant(nnx.Module):
        ...     def __init__(self):
        ...         self.image = nnx.Param(jnp.zeros(8))
        ...     def __call__(self, A, y):
        ...         return self.image[...]
        >>> y = jnp.full(8, 2.0)
        >>> done = adapt(Constant(), identity(y), y, MeasurementConsistency(), n_steps=50,
        ...              holdout=None, optimiser=optax.sgd(1.0), key=jax.random.key(0))
        >>> bool(jnp.allclose(done.net(identity(y), y), y, atol=1e-3))
        True
    """
    _check_counts(n_steps=n_steps, check_every=check_every, patience=patience)
    key_split, key_train, key_turns = jax.random.split(key, 3)
    optimiser = _adam() if optimiser is None else optimiser
    graph, state = create_state(net, optimiser, key=key_train, trainable=trainable)
    judge, seen = None, {"y": y, "A": A}
    if holdout is not None:
        keep = split_units(holdout, key_split, units(A))
        judge = _Judge(graph, A, y, keep, distance)
        seen = {"y": weigh(keep, y), "A": restrict(A, keep)}
    turns = None if n_keys is None else jax.random.split(key_turns, n_keys)
    step = train_step(_Turns(as_pytree(loss), turns), optimiser)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], seen)

    history = _History(state, judge, patience)
    for i in range(n_steps):
        turn = jnp.full((1,), i % (n_keys or 1))
        state, metrics = _train(step, graph, state, {**batch, "turn": turn})
        history.note(state, float(metrics["loss"]), check=(i + 1) % check_every == 0)
        if history.stopped:
            break
    return history.adaptation(graph)


def zero_shot(
    net: nnx.Module,
    A: Any,
    y: PyTree,
    *,
    key: Key[Array, ""],
    split: Any = UniformSplit(0.4),  # noqa: B008
    n_masks: int = 25,
    optimiser: optax.GradientTransformation | None = None,
    n_steps: int = 300,
    holdout: Any = UniformSplit(0.2),  # noqa: B008
    patience: int = 25,
    trainable: Any = nnx.Param,
) -> Adaptation:
    """Zero-shot self-supervised learning: `adapt` with SSDU on one scan and a fixed set of masks.

    Args:
        net: ``net(A, y) -> x``, trained before or not.
        A: the scan.
        y: its measurement.
        key: random key.
        split: of the training units into seen and judged ones.
        n_masks: splits that are gone through in turn.
        optimiser: as for `adapt`, like the rest.
        n_steps: as there.
        holdout: as there.
        patience: as there; a judgement follows each step.
        trainable: as there.
    """
    return adapt(
        net,
        A,
        y,
        SSDU(split),
        key=key,
        optimiser=optimiser,
        n_steps=n_steps,
        holdout=holdout,
        patience=patience,
        n_keys=n_masks,
        trainable=trainable,
    )


@pytree
class _Turns:
    """A loss with a key of the turn in place of a new one, where there are turns."""

    loss: Any
    keys: Array | None

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        batch = dict(batch)
        turn = batch.pop("turn")
        return self.loss(net, batch, key if self.keys is None else self.keys[turn])


class _Judge(NamedTuple):
    """The distance on held-out units of the network that a state holds."""

    graph: nnx.GraphDef
    A: Any
    y: PyTree
    keep: PyTree
    distance: Distance

    def __call__(self, state: TrainState) -> float:
        scan = (self.A, self.y, self.keep)
        return float(_held_out_distance(self.graph, state, scan, self.distance))


# Compiled here, so that the next measurement of the same sizes trains at once.
@functools.partial(jax.jit, static_argnames="graph")
def _train(step: TrainStep, graph: nnx.GraphDef, state: TrainState, batch: Batch) -> Any:
    return step(graph, state, batch)


@functools.partial(jax.jit, static_argnames=("graph", "distance"))
def _held_out_distance(graph: nnx.GraphDef, state: TrainState, scan: Any, distance: Any) -> Array:
    A, y, keep = scan
    return split_loss(network(graph, state), A, y, keep, distance)


@functools.cache
def _adam() -> optax.GradientTransformation:
    return optax.adam(1e-4)


class _History:
    """What was seen of a training, and the best state met."""

    def __init__(self, state: TrainState, judge: _Judge | None, patience: int):
        self._judge = judge
        self._patience = patience
        self._losses: list[float] = []
        self._validation = [] if judge is None else [judge(state)]
        self._best = (state, 0)
        self._lowest = self._validation[0] if self._validation else np.nan
        self._waited = 0

    @property
    def stopped(self) -> bool:
        return self._waited >= self._patience

    def note(self, state: TrainState, loss: float, *, check: bool) -> None:
        self._losses.append(loss)
        if self._judge is None:
            self._best = (state, len(self._losses))
        elif check:
            value = self._judge(state)
            self._validation.append(value)
            self._waited += 1
            # A judgement of the start that is not a number is no reason to keep it.
            if value < self._lowest or np.isnan(self._lowest):
                self._best, self._lowest = (state, len(self._losses)), value
                self._waited = 0

    def adaptation(self, graph: nnx.GraphDef) -> Adaptation:
        state, step = self._best
        losses, validation = np.array(self._losses), np.array(self._validation)
        return Adaptation(network(graph, state), losses, validation, step, self.stopped)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` is {count}, expected at least 1")
