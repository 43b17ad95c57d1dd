"""What a loss is, supervised losses, and sums of losses.

A loss is a pytree callable ``loss(net, batch, key) -> (scalar, metrics)`` for ONE example; the
training step maps it over a batch. `net` is a reconstruction network, ``net(A, y) -> x``, and
`batch` a dict with

    "y"  the measurement,          "A"  the forward model, a pytree whose arrays may be traced,
    "x"  the truth, for losses that need it.

A loss calls the network once or a few times, one call after the other and never under a transform
of its own, so that a network may keep state (batch statistics, random streams). Distances are
``d(prediction, target)``: plain functions, or pytrees where they carry arrays.
"""

import functools
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxrecon.core import pytree, static
from jaxrecon.training.losses.image import l1

Batch = dict[str, Any]
Metrics = dict[str, Array]


@runtime_checkable
class Loss(Protocol):
    """A pytree callable that judges a network on one example."""

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The scalar that is minimised, and a dict of scalars to look at."""
        ...


@pytree
class Supervised:
    """Σ wᵢ dᵢ(net(A, y), x) with the truth x; built by `supervised`.

    Attributes:
        weights: wᵢ.
        distances: pytree callables dᵢ.
        names: of the metrics.
    """

    weights: tuple[Any, ...]
    distances: tuple[Any, ...]
    names: tuple[str, ...] = static()

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss, and every distance before it is weighted.

        Raises:
            ValueError: the batch has no "x".
        """
        del key
        y, A, x = entries(batch, "y", "A", "x")
        image = net(A, y)
        values = [d(image, x) for d in self.distances]
        terms = [w * v for w, v in zip(self.weights, values, strict=True)]
        return jnp.sum(jnp.stack(terms)), dict(zip(self.names, values, strict=True))


def supervised(*terms: Any) -> Supervised:
    """A loss against the truth, batch["x"].

    Args:
        *terms: distances, or pairs (weight, distance); `l1` if there are none.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.training.losses import l2
        >>> x = jax.numpy.ones(3)
        >>> batch = {"y": 3 * x, "A": identity(x), "x": x}
        >>> loss = supervised((0.5, l1), (0.25, l2))
        >>> value, metrics = loss(lambda A, y: A.H(y), batch, jax.random.key(0))
        >>> float(value), {name: float(m) for name, m in metrics.items()}
        (2.0, {'l1': 2.0, 'l2': 4.0})
    """
    weights, distances = _weights_and_parts(terms or (l1,))
    names = _names([_name(d) for d in distances])
    return Supervised(weights, tuple(as_pytree(d) for d in distances), names)


@pytree
class Weighted:
    """Σ wᵢ lossᵢ; built by `weighted`. Each loss calls the network for itself.

    Attributes:
        weights: wᵢ.
        losses: pytree callables.
        names: of the losses, before their metrics' own names.
    """

    weights: tuple[Any, ...]
    losses: tuple[Any, ...]
    names: tuple[str, ...] = static()

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The sum, and every loss with its metrics."""
        keys = jax.random.split(key, len(self.losses))
        metrics, values = {}, []
        terms = zip(self.weights, self.losses, self.names, keys, strict=True)
        for weight, loss, name, key_i in terms:
            value, more = loss(net, batch, key_i)
            values.append(weight * value)
            metrics |= {name: value, **{f"{name}.{k}": m for k, m in more.items()}}
        return jnp.sum(jnp.stack(values)), metrics


def weighted(*terms: Any) -> Weighted:
    """A weighted sum of losses, such as a supervised one and `equivariant_imaging`.

    Args:
        *terms: losses, or pairs (weight, loss).

    Raises:
        ValueError: there are no terms.
    """
    if not terms:
        raise ValueError("`terms` is empty: pass at least one loss")
    weights, losses = _weights_and_parts(terms)
    names = _names([_name(loss) for loss in losses])
    return Weighted(weights, tuple(as_pytree(loss) for loss in losses), names)


def entries(batch: Batch, *names: str) -> list[Any]:
    """The entries of a batch.

    Raises:
        ValueError: one is missing.
    """
    missing = [name for name in names if name not in batch]
    if missing:
        raise ValueError(
            f"`batch` has {sorted(batch)}, expected also {missing}: this loss needs "
            f"{', '.join(names)}"
        )
    return [batch[name] for name in names]


def as_pytree(function: Any) -> Any:
    """A callable as a pytree: itself if it is one, else static."""
    # Not by its tree having no more than one node: that of a loss without arrays has just one.
    is_leaf = jax.tree_util.all_leaves([function])
    return jax.tree_util.Partial(function) if is_leaf else function


def _weights_and_parts(terms: tuple) -> tuple[tuple, tuple]:
    pairs = [term if isinstance(term, tuple) else (1.0, term) for term in terms]
    weights, parts = zip(*pairs, strict=True)
    return weights, parts


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _names(names: list[str]) -> tuple[str, ...]:
    """Names made different from each other by a number."""
    return tuple(
        f"{name}_{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    )
