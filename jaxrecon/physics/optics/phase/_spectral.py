"""Spectral initialisation of phase retrieval: a start that correlates with the truth.

The leading eigenvector of

    B = Aᴴ diag(T(y / mean y)) A,    T(t) = max(1 − 1/t, −c)
    (1)

points towards the object, because measurements aligned with it are bright. T is the preprocessing
that recovers a signal from the fewest Gaussian measurements, cut off at −c so that dark pixels do
not slow the iteration down. B has negative eigenvalues of larger size: power iteration first finds
the largest of them all, σ, then the leading eigenvector, that of B + σ. Its scale comes from the
data: ‖A x‖² = Σ y.

Source: Luo, Alghamdi, Lu, "Optimal spectral initialization for signal recovery with applications to
phase retrieval", IEEE Trans. Signal Process. 67 (2019).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxrecon.core import LinearOperator, match_varying, tree

__all__ = ["spectral_init"]


def spectral_init(
    A: LinearOperator,
    intensities: Float[Array, "..."],
    key: Key[Array, ""],
    *,
    n_iter: int = 200,
    cutoff: int | float = 5.0,
) -> Any:
    """A start x₀ for phase retrieval from y = |A x|².

    Args:
        A: the linear operator to the field on the detector (one array).
        intensities: measured |A x|², the shape of A's range.
        key: for the random start of the power iteration.
        n_iter: power iterations.
        cutoff: c of equation (1).

    Returns:
        x₀ in the domain of A, of the truth's size, known up to a global phase.

    Raises:
        ValueError: the shape of the intensities is not that of A's range.

    Example:
        >>> from jaxrecon.physics import optics
        >>> A = optics.random_transmission(jax.random.key(0), jnp.zeros((4, 4), complex), 160)
        >>> x = jax.random.normal(jax.random.key(1), (4, 4), complex)
        >>> x0 = spectral_init(A, optics.intensity(A)(x), jax.random.key(2))
        >>> bool(optics.overlap(x0, x) > 0.9)
        True
    """
    shape = getattr(A.range, "shape", A.range)
    if intensities.shape != shape:
        raise ValueError(
            f"`intensities` has shape {intensities.shape}; expected A's range, {shape}"
        )
    relative = intensities / jnp.mean(intensities)
    bright = relative > 1 / (1 + cutoff)
    weights = jnp.where(bright, 1 - 1 / jnp.where(bright, relative, 1), -cutoff)
    # Of A's precision, so that the loop's carry keeps its dtype.
    weights = weights.astype(jnp.finfo(jax.tree.leaves(A.domain)[0].dtype).dtype)
    B = A.weighted_gram(weights)
    start = match_varying(_unit(tree.random_normal(key, A.domain)), A, weights)
    largest = tree.norm(B.forward(_leading(B, start, 0.0, max(n_iter // 4, 1))))
    x = _leading(B, start, largest, n_iter)
    field = A.forward(x)
    return tree.scale(jnp.sqrt(jnp.sum(intensities) / tree.sum_of_squares(field)), x)


def _leading(B: LinearOperator, start: Any, shift: Any, n_iter: int) -> Any:
    """Power iteration on B + shift."""

    def step(x: Any, _: None) -> tuple[Any, None]:
        return _unit(tree.add_scaled(B.forward(x), shift, x)), None

    return jax.lax.scan(step, start, length=n_iter)[0]


def _unit(x: Any) -> Any:
    size = tree.norm(x)
    return tree.scale(1 / jnp.where(size > 0, size, 1), x)
