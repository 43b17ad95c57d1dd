"""Optimal design of linear measurements of a Gaussian object, in closed form.

    x ~ N(m, C),  C = L Lᴴ,     y_i = A_i x + n_i,  n_i ~ N(0, σ²/w_i)                       (1)

Candidates i (lines, views, rows) with one or several data each are measured with weights w_i ≥ 0:
0 is not measured, 2 is twice the dose. With B_i = A_i L/σ the posterior covariance is

    P(w) = L M⁻¹ Lᴴ,     M = I + Σ w_i B_iᴴ B_i                                              (2)

whatever the data turn out to be. A-optimality minimises the expected squared error of the posterior
mean, D-optimality maximises the expected information:

    a(w) = tr K P Kᴴ,      ∂a/∂w_i = −‖K P A_iᴴ‖²_F / σ²                                     (3)
    d(w) = ½ log det M,    ∂d/∂w_i = ½ tr B_i M⁻¹ B_iᴴ                                       (4)

with K the part of the object that is of interest. a is convex in w and d concave. Circular complex
objects, with C and σ² of the real as of the imaginary part, count both: twice (3) and (4).

Source: Chaloner and Verdinelli, "Bayesian experimental design: a review", Stat. Sci. 10 (1995).
"""

import abc

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, materialise, pytree

__all__ = [
    "GaussianModel",
    "GramGaussian",
    "LinearGaussian",
    "error_slope",
    "expected_error",
    "expected_information",
    "information_slope",
    "linear_gaussian",
    "posterior_covariance",
]

_HIGHEST = jax.lax.Precision.HIGHEST


class GaussianModel(abc.ABC):
    """Candidates under a Gaussian prior, as the criteria see them; abstract."""

    factor: Inexact[Array, "interest mode"]

    @abc.abstractmethod
    def precision(self, weights: Float[Array, " candidate"]) -> Inexact[Array, "mode mode"]:
        """M of equation (2)."""

    @abc.abstractmethod
    def contract(self, S: Inexact[Array, "mode mode"]) -> Float[Array, " candidate"]:
        """Tr B_i S B_iᴴ of every candidate, for a Hermitian S."""

    @property
    def parts(self) -> int:
        """How many real numbers a coefficient is."""
        return 2 if jnp.iscomplexobj(self.factor) else 1


@pytree
class LinearGaussian(GaussianModel):
    """Model (1) in whitened form; build it with `linear_gaussian`.

    Attributes:
        rows: B, `(candidate, datum, mode)`.
        factor: K L, `(interest, mode)`.
    """

    rows: Inexact[Array, "candidate datum mode"]
    factor: Inexact[Array, "interest mode"]

    @property
    def n_candidates(self) -> int:
        """How many candidates there are to measure."""
        return self.rows.shape[0]

    def precision(self, weights: Float[Array, " candidate"]) -> Inexact[Array, "mode mode"]:
        flat = self.rows.reshape(-1, self.rows.shape[-1])
        each = jnp.repeat(weights, self.rows.shape[1])
        return jnp.eye(flat.shape[1], dtype=flat.dtype) + product(adjoint(flat) * each, flat)

    def contract(self, S: Inexact[Array, "mode mode"]) -> Float[Array, " candidate"]:
        return jnp.sum((product(self.rows, S) * self.rows.conj()).real, (1, 2))

    def compressed(self, n_data: int) -> "LinearGaussian":
        """The same candidates with fewer data each: the combinations that tell most.

        From the singular values of every B_i. Those below one tell less than the noise: dropping
        them changes nearly nothing, dropping zeros nothing. For criteria and selection only:
        measured data would have to be combined alike.

        Raises:
            ValueError: fewer than one datum.
        """
        if n_data < 1:
            raise ValueError(f"`n_data` is {n_data}, expected at least 1")
        _, s, VH = jnp.linalg.svd(self.rows, full_matrices=False)
        return LinearGaussian((s[..., None] * VH)[:, :n_data], self.factor)

    def grams(self) -> "GramGaussian":
        """The same model with B_iᴴ B_i formed once.

        A criterion then costs O(candidates · modes²) instead of `datum` times that; the memory is
        `datum / modes` times less or more.
        """
        return GramGaussian(product(adjoint(self.rows), self.rows), self.factor)


@pytree
class GramGaussian(GaussianModel):
    """Model (1) by the information of each candidate, from `LinearGaussian.grams`.

    Attributes:
        matrices: B_iᴴ B_i, `(candidate, mode, mode)`.
        factor: K L, `(interest, mode)`.
    """

    matrices: Inexact[Array, "candidate mode mode"]
    factor: Inexact[Array, "interest mode"]

    def precision(self, weights: Float[Array, " candidate"]) -> Inexact[Array, "mode mode"]:
        total = jnp.tensordot(weights, self.matrices, 1, precision=_HIGHEST)
        return jnp.eye(total.shape[0], dtype=total.dtype) + total

    def contract(self, S: Inexact[Array, "mode mode"]) -> Float[Array, " candidate"]:
        return jnp.tensordot(self.matrices, S.T, 2, precision=_HIGHEST).real


def linear_gaussian(
    rows: Inexact[Array, "..."] | LinearOperator,
    factor: Inexact[Array, "pixel mode"],
    noise: ArrayLike,
    *,
    n_candidates: int | None = None,
    interest: Inexact[Array, "interest pixel"] | None = None,
) -> LinearGaussian:
    """The model (1) of candidates, a prior and noise; dense, so for small or coarse problems.

    Args:
        rows: A, `(candidate, pixel)`, `(candidate, datum, pixel)`, or a `LinearOperator`, whose
            data are cut into candidates of equal length in their order: the views of a sinogram.
        factor: L with C = L Lᴴ: a Cholesky factor, or principal components times their deviations.
        noise: σ at weight one, of the real and of the imaginary part of complex data.
        n_candidates: of an operator; the length of its data's first axis by default.
        interest: K; the whole object by default.

    Raises:
        ValueError: shapes that do not fit, or noise known not to be positive.

    Example:
        >>> model = linear_gaussian(jnp.eye(3), jnp.diag(jnp.array([3.0, 1.0, 0.0])), 1.0)
        >>> [round(float(expected_error(model, w * jnp.ones(3))), 4) for w in (0.0, 1.0)]
        [10.0, 1.4]
    """
    if isinstance(rows, LinearOperator):
        n = jax.tree.leaves(rows.range)[0].shape[0] if n_candidates is None else n_candidates
        rows = materialise(rows)
        if n < 1 or rows.shape[0] % n:
            raise ValueError(f"`n_candidates` is {n}, expected a divisor of {rows.shape[0]} data")
        rows = rows.reshape(n, -1, rows.shape[-1])
    rows = rows[:, None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or factor.ndim != 2 or rows.shape[-1] != factor.shape[0]:
        raise ValueError(
            f"`rows` has shape {rows.shape} and `factor` {factor.shape}, expected (candidate, "
            "datum, pixel) and (pixel, mode)"
        )
    if not isinstance(noise, jax.core.Tracer) and not (np.asarray(noise) > 0).all():
        raise ValueError(f"`noise` is {noise}, expected a positive standard deviation")
    seen = factor if interest is None else product(interest, factor)
    return LinearGaussian(product(rows, factor) / noise, seen)


@jax.jit
def expected_error(model: GaussianModel, weights: Float[Array, " candidate"]) -> Float[Array, ""]:
    """A-optimality, equation (3): E‖K(x̂ − x)‖² of the posterior mean; smaller is better."""
    Q = product(adjoint(model.factor), model.factor)
    return model.parts * jnp.trace(_solve(model.precision(weights), Q)).real


@jax.jit
def expected_information(
    model: GaussianModel, weights: Float[Array, " candidate"]
) -> Float[Array, ""]:
    """D-optimality, equation (4): what the data tell of the object, in nats; more is better.

    The entropy that the posterior has lost, and the mutual information of object and data.
    """
    root = jnp.linalg.cholesky(model.precision(weights))
    return model.parts * jnp.sum(jnp.log(jnp.diagonal(root).real))


@jax.jit
def error_slope(
    model: GaussianModel, weights: Float[Array, " candidate"]
) -> Float[Array, " candidate"]:
    """The gradient (3) of `expected_error` in closed form: what each candidate's dose gains."""
    halved = _solve(model.precision(weights), adjoint(model.factor))
    return -model.parts * model.contract(product(halved, adjoint(halved)))


@jax.jit
def information_slope(
    model: GaussianModel, weights: Float[Array, " candidate"]
) -> Float[Array, " candidate"]:
    """The gradient (4) of `expected_information` in closed form."""
    M = model.precision(weights)
    return model.parts / 2 * model.contract(_solve(M, jnp.eye(M.shape[0], dtype=M.dtype)))


def posterior_covariance(
    model: GaussianModel, weights: Float[Array, " candidate"]
) -> Inexact[Array, "interest interest"]:
    """K P(w) Kᴴ, equation (2); of the real as of the imaginary part of complex objects."""
    halved = _solve(model.precision(weights), adjoint(model.factor))
    return product(model.factor, halved)


def product(a: Array, b: Array) -> Array:
    """The matrix product in full precision."""
    return jnp.matmul(a, b, precision=_HIGHEST)


def adjoint(a: Array) -> Array:
    """The conjugate transpose of a matrix, or of each of a stack."""
    return jnp.swapaxes(a.conj(), -1, -2)


def _solve(M: Array, b: Array) -> Array:
    # Not `scipy.linalg.solve(assume_a="pos")`: its derivative takes Hermitian for symmetric.
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(M), True), b)
