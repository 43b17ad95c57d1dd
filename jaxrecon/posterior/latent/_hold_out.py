"""Measurements kept back to judge an image by: a fidelity split in two.

    Σ f(A x) = Σ over the kept entries + Σ over those held out                             (1)

For noise that is independent from entry to entry the second sum, of an image that was made from the
first, estimates the misfit to data nobody has seen. It falls while an iteration learns the object
and rises when it begins to fit the noise: a rule for when to stop that needs no truth.

Entries go together that are not independent, or that would give each other away: all coils of a
point of k-space, all bins of a view.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, PyTree

from jaxrecon.core import Problem, pytree, replace
from jaxrecon.functionals import (
    Amplitude,
    Functional,
    Intensity,
    LeastSquares,
    Poisson,
    Rician,
    Separable,
    Transmission,
)
from jaxrecon.functionals._algebra import Wrapper


@pytree
class Masked(Wrapper):
    """A fidelity of some entries, which gives the others the values that it likes best.

    Built by `masked`. What those add is a constant, zero or nearly so for all fidelities here.

    Attributes:
        inner: elementwise.
        keep: booleans that broadcast to the entries.
        rest: the values where `keep` does not hold, like the entries.
    """

    inner: Any
    keep: Bool[Array, "..."]
    rest: Any

    def __call__(self, x: Array) -> Array:
        return self.inner(self._seen(x))

    def grad(self, x: Array) -> Array:
        return jnp.where(self.keep, self.inner.grad(self._seen(x)), 0)

    def prox(self, x: Array, step: Any) -> Array:
        return jnp.where(self.keep, self.inner.prox(self._seen(x), step), x)

    def _seen(self, x: Array) -> Array:
        return jnp.where(self.keep, x, self.rest)


def masked(f: Functional, keep: PyTree) -> Functional:
    """A fidelity of the entries that `keep` keeps.

    Args:
        f: a sum over entries, such as `LeastSquares` or `Poisson`, or a `Separable` of such.
        keep: booleans that broadcast to the data; a tuple of them for a `Separable`.

    Raises:
        ValueError: f is not a sum over entries, or `keep` does not broadcast to its data.

    Example:
        >>> f = masked(LeastSquares(jnp.array([1.0, 2.0])), jnp.array([True, False]))
        >>> float(f(jnp.zeros(2)))
        0.5
    """
    if isinstance(f, Separable):
        return Separable(tuple(masked(g, k) for g, k in zip(f.parts, keep, strict=True)))
    if not f.elementwise or not f.fidelity:
        raise ValueError(
            f"`f` is {type(f).__name__}, expected a fidelity that is a sum over entries, of which "
            "some can be left out"
        )
    rest, keep = best_entries(f), jnp.asarray(keep)
    if not _broadcasts(keep.shape, rest.shape):
        raise ValueError(
            f"`keep` has shape {keep.shape}, expected one to broadcast to {rest.shape}"
        )
    if isinstance(f, LeastSquares):
        ones = jnp.ones((), f.data.real.dtype) if f.weights is None else f.weights
        return replace(f, weights=jnp.broadcast_to(jnp.where(keep, ones, 0), f.data.shape))
    return Masked(f, keep, rest)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    ones = (1,) * (len(to) - len(shape))
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip((*ones, *shape), to))


@functools.singledispatch
def best_entries(f: Any) -> Array:
    """The x of least f, or close to it. For a fidelity of your own, register a method.

    Raises:
        ValueError: it is not known.
    """
    if not hasattr(f, "data"):
        raise ValueError(
            f"`{type(f).__name__}` does not say where it is least: register a method, "
            "`best_entries.register`"
        )
    return f.data


@best_entries.register
def _(f: Poisson) -> Array:
    return jnp.asarray(f.counts - f.background)


@best_entries.register
def _(f: Transmission) -> Array:
    signal = jnp.maximum(f.counts - f.background, 0.5)  # no count at all is least at infinity
    alive = jnp.asarray(f.blank) > 0
    return jnp.where(alive, jnp.log(jnp.where(alive, f.blank, 1) / signal), 0)


@best_entries.register(Amplitude)
@best_entries.register(Rician)
def _(f: Any) -> Array:
    return f.magnitudes


@best_entries.register
def _(f: Intensity) -> Array:
    return jnp.sqrt(jnp.maximum(f.intensities, 0))


def random_rows(
    key: Key[Array, ""],
    like: Any,
    *,
    share: float = 0.1,
    axes: tuple[int, ...] = (0,),
    measured: Any = True,
) -> Bool[Array, "..."]:
    """Which rows are kept if a share of them, drawn at random, is held out.

    Args:
        key: of the draw.
        like: the data, or their struct.
        share: held out, of the rows that may be; rounded to a whole number of them, at least one.
        axes: along which rows are told apart: views of a sinogram by default, ``(-2, -1)`` for
            points of k-space whose coils belong together.
        measured: booleans that broadcast to `like`, the rows that may be held out: the measured
            ones of a scan with a mask, without those that every image needs.

    Returns:
        Booleans of length one along the other axes.

    Raises:
        ValueError: a share that is not between 0 and 1.

    Example:
        >>> keep = random_rows(jax.random.key(0), jnp.zeros((10, 7)), share=0.2)
        >>> keep.shape, int(keep.sum())
        ((10, 1), 8)
    """
    if not 0 < share < 1:
        raise ValueError(f"`share` is {share}, expected a number between 0 and 1")
    rank = len(like.shape)
    own = {axis % rank for axis in axes}
    whole = jnp.broadcast_to(jnp.asarray(measured), like.shape)
    allowed = jnp.any(whole, tuple(a for a in range(rank) if a not in own), keepdims=True)
    n_held = jnp.maximum(jnp.round(share * jnp.sum(allowed)), 1)
    draw = jnp.where(allowed, jax.random.uniform(key, allowed.shape), jnp.inf)
    place = jnp.argsort(jnp.argsort(draw.ravel())).reshape(allowed.shape)
    return (place >= n_held) | ~allowed


def hold_out(problem: Problem, keep: PyTree) -> tuple[Problem, Problem]:
    """The problem without the data that are held out, and their fidelity; equation (1).

    Args:
        problem: Σ f(A x) with one fidelity or several; regularisers stay with the first part.
        keep: booleans that broadcast to the data, as of `random_rows`; a list of them, one for each
            fidelity, if there are several.

    Raises:
        ValueError: no fidelity, or not as many masks.

    Example:
        >>> from jaxrecon.core import identity
        >>> y = jnp.arange(4.0)
        >>> problem = Problem(((LeastSquares(y), identity(y)),))
        >>> fit, judge = hold_out(problem, y < 2)
        >>> float(fit(0 * y)), float(judge(0 * y))
        (0.5, 6.5)
    """
    n_fidelities = sum(f.fidelity for f, _ in problem.terms)
    masks = list(keep) if isinstance(keep, list) else [keep]
    if n_fidelities == 0 or len(masks) != n_fidelities:
        raise ValueError(
            f"`keep` has {len(masks)} masks for {n_fidelities} fidelities: pass one for each"
        )
    fit, judge, left = [], [], iter(masks)
    for f, A in problem.terms:
        if not f.fidelity:
            fit.append((f, A))
            continue
        mask = next(left)
        fit.append((masked(f, mask), A))
        judge.append((masked(f, jax.tree.map(jnp.logical_not, mask)), A))
    return Problem(tuple(fit)), Problem(tuple(judge))
