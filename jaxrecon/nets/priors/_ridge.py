"""Ridge regularisers that are trained as denoisers: convex (CRR) and weakly convex (WCRR).

    R_σ(x) = λ Σ_c Σ_i s_c⁻² ψ(s_c |(Hx)_ci|),    s_c(σ) = exp(θ_c(σ)) / σ                     (1)

Goujon, Neumayer, Bohra, Ducotterd and Unser, IEEE Trans. Comput. Imaging 9, 2023; Goujon, Neumayer
and Unser, SIAM J. Imaging Sci. 17, 2024. H is a chain of convolutions (`_filters`), ψ one potential
for all filters (`_potentials`), and θ_c a linear spline in σ. By construction, for all weights,

    ‖H‖ ≤ 1 and −m ≤ ψ'' ≤ L,  so that  R_σ + ½λm‖·‖² is convex and ∇R_σ is λ·max(L, m)-Lipschitz

and ψ' ≥ 0, so that R_σ ≥ 0 is bounded below whatever a forward model does not see (the papers leave
that to training, which lets ψ' end slightly below zero). m = 0 for CRR and m = 1 for WCRR, where
½‖x − y‖² + R_σ(x) is still convex. Its minimiser

    D(y, σ) = prox_{R_σ}(y)                                                                    (2)

is the denoiser that is trained; the regulariser then serves any forward model. With θ constant
in σ, D(ay, aσ) = a D(y, σ).
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.core import LinearOperator, Problem, Result, identity, pytree, run, static, tree
from jaxrecon.functionals import Functional, LeastSquares
from jaxrecon.nets.priors._filters import (
    FilterBank,
    Kernels,
    filter_bank,
    normalised,
    responses,
    responses_adjoint,
)
from jaxrecon.nets.priors._potentials import SplinePotentials
from jaxrecon.solvers.gradient import FISTA

# Slopes are softplus(raw) − m; at this raw value they lie just above −m.
_NEAR_BOUND = -4.0


@pytree
class RidgePrior(Functional):
    """R of (1) at one noise level: a smooth functional of images, real or complex.

    For methods that want a proximal map of something simple behind an operator, `terms` splits it.
    Built by `RidgeNet.functional`.

    Args:
        kernels: of H, with ‖H‖ ≤ 1.
        potentials: ψ_c, with λ.
        n_iter: iterations of the proximal map, at most.
        tol: relative change of its iterate to stop at.
        adjoint_tol: relative residual of the linear system behind its derivative.
        gradient: how it is differentiated: "implicit", by the equation it solves, or "unrolled",
            through exactly n_iter steps.
    """

    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = False  # unless m = 0

    kernels: Kernels
    potentials: SplinePotentials
    n_iter: int = static(default=200, kw_only=True)
    tol: float = static(default=1e-5, kw_only=True)
    adjoint_tol: float = static(default=1e-3, kw_only=True)
    gradient: str = static(default="implicit", kw_only=True)

    def __call__(self, x: Array) -> Array:
        return self.potentials(responses(self.kernels, x))

    def grad(self, x: Array) -> Array:
        return responses_adjoint(self.kernels, self.potentials.grad(responses(self.kernels, x)))

    def prox(self, x: Array, step: Any) -> Array:
        """The minimiser by accelerated gradient steps; unique while step · λ · m < 1."""
        return self.denoise(x, step).value

    def denoise(self, x: Array, step: Any = 1.0) -> Result:
        """The proximal map with the status of its iteration.

        Raises:
            ValueError: an unknown `gradient`.
        """
        if self.gradient not in ("implicit", "unrolled"):
            raise ValueError(f"`gradient` is {self.gradient!r}, expected 'implicit' or 'unrolled'")
        return (_minimise if self.gradient == "unrolled" else _minimiser)(self, x, step)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """√(λ max(L, m)) H A, so that step sizes know how much of H an operator A lets through."""
        return self.potentials.curvature_root(filter_bank(self.kernels, A.range) @ A)

    def terms(self, like: Any) -> tuple[SplinePotentials, FilterBank]:
        """``(potentials, H)``, a term for splitting methods on images shaped as `like`."""
        return self.potentials, filter_bank(self.kernels, like)


def _minimise(prior: RidgePrior, x: Array, step: Any) -> Result:
    """½‖u − x‖² + step · R(u) by FISTA with the step size that R's curvature allows."""
    bound = 1 + step * prior.potentials.weight * prior.potentials.steepest
    algorithm = FISTA(step_size=jax.lax.stop_gradient(1 / bound))
    problem = Problem(((LeastSquares(x), identity(x)), (step * prior, identity(x))))
    if prior.gradient == "unrolled":
        return run(algorithm, problem, x, n_iter=prior.n_iter, gradient="unrolled", unroll="auto")
    return run(algorithm, problem, x, n_iter=prior.n_iter, tol=prior.tol)


@jax.custom_vjp
def _minimiser(prior: RidgePrior, x: Array, step: Any) -> Result:
    return _minimise(prior, x, step)


def _minimiser_forward(prior: RidgePrior, x: Array, step: Any) -> tuple[Result, Any]:
    result = _minimiser(prior, x, step)
    return result, (prior, x, step, result.value)


def _minimiser_backward(residuals: Any, ct: Result) -> tuple[Any, Array, Any]:
    """From u + t ∇R(u) = x: with (I + t∇²R) v = conj(ct), v pulled back through x − t ∇R(u).

    The matrix is symmetric, so conjugate gradients do, at one product with ∇²R a step.
    """
    prior, x, step, u = residuals
    pull = jax.vjp(lambda u: step * prior.grad(u), u)[1]

    def system(v):
        curved = jnp.conj(pull(jnp.conj(tree.from_real(v, u)))[0])
        return tree.add(v, tree.to_real(curved))

    b = tree.to_real(jnp.conj(ct.value))
    v, _ = jax.scipy.sparse.linalg.cg(system, b, tol=prior.adjoint_tol, maxiter=prior.n_iter)
    arguments = lambda prior, x, step: x - step * prior.grad(u)  # noqa: E731
    return jax.vjp(arguments, prior, x, step)[1](jnp.conj(tree.from_real(v, u)))


_minimiser.defvjp(_minimiser_forward, _minimiser_backward)


class RidgeNet(nnx.Module):
    """The weights of (1), and the denoiser (2): CRR for modulus 0, WCRR for 1.

    Parameters: Σ taps · channels in · channels out of the chain, the knots, and `n_levels` times
    the number of filters: 12 900 + 25 + 660 = 13 585 by default.

    Args:
        channels: of the chain after each convolution; the last is the number of filters.
        kernel: side of the kernels in pixels, odd.
        n_axes: 2 for images, 3 for volumes.
        modulus: m.
        n_knots: pieces of the spline ψ'.
        reach: where ψ' becomes constant, in units of σ times exp(−θ).
        n_levels: knots of θ, from σ = 0 to `max_sigma`; constant beyond.
        max_sigma: see above.
        n_iter: iterations of the denoiser, at most.
        tol: relative change to stop it at.
        gradient: "implicit", the derivative of (2), or "unrolled", that of `n_iter` steps on the
            way to it (the t-step training of the first paper).
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> net = RidgeNet(channels=(4, 12), kernel=3, rngs=nnx.Rngs(0))
        >>> noisy = 0.1 * jax.random.normal(jax.random.key(0), (16, 16))
        >>> bool(jnp.std(net(noisy, 0.1)) < 0.8 * jnp.std(noisy))
        True
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (4, 8, 60),
        kernel: int = 5,
        n_axes: int = 2,
        modulus: float = 1.0,
        n_knots: int = 25,
        reach: float = 1.0,
        n_levels: int = 11,
        max_sigma: float = 50 / 255,
        n_iter: int = 200,
        tol: float = 1e-4,
        gradient: str = "implicit",
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        _check(kernel, modulus, n_knots, n_levels)
        self.modulus, self.reach, self.max_sigma = modulus, reach, max_sigma
        self.n_iter, self.tol, self.gradient = n_iter, tol, gradient
        init = nnx.initializers.lecun_normal()
        sizes = zip((1, *channels[:-1]), channels, strict=True)
        shapes = [((kernel,) * n_axes + pair) for pair in sizes]
        self.raw_kernels = nnx.List(
            [nnx.Param(init(rngs.params(), shape, param_dtype)) for shape in shapes]
        )
        self.raw_slopes = nnx.Param(_initial_slopes(n_knots, modulus, param_dtype))
        self.log_scales = nnx.Param(jnp.zeros((n_levels, channels[-1]), param_dtype))

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image (2): real or complex, ``(..., y, x)``; x itself for σ = 0."""
        return self.functional(sigma).prox(x, 1.0)

    def functional(self, sigma: Any, weight: Any = 1.0) -> RidgePrior:
        """The regulariser (1) at a noise level, weighted with λ."""
        return RidgePrior(
            self.kernels(),
            SplinePotentials(self.slopes(), self.spacing(sigma), weight),
            n_iter=self.n_iter,
            tol=self.tol,
            gradient=self.gradient,
        )

    def kernels(self) -> Kernels:
        """Of the chain H, with filters of zero mean and ‖H‖ ≤ 1."""
        return normalised([kernel[...] for kernel in self.raw_kernels])

    def slopes(self) -> Float[Array, " knot"]:
        """Of ψ' between its knots, above −m; where ψ' would fall below zero, it stays there."""
        free = jnp.cumsum(jax.nn.softplus(self.raw_slopes[...]) - self.modulus)
        heights = free - jnp.minimum(jax.lax.cummin(free), 0)
        return jnp.diff(heights, prepend=0)

    def spacing(self, sigma: Any) -> Float[Array, " filter"]:
        """Between the knots of each filter's potential, Δ_c = Δσ exp(−θ_c(σ))."""
        scales = self.log_scales[...]
        last = scales.shape[0] - 1
        level = jnp.clip(jnp.asarray(sigma, scales.dtype) / self.max_sigma * last, 0, last)
        weights = jnp.maximum(1 - jnp.abs(level - jnp.arange(last + 1)), 0)
        exponents = jnp.sum(weights[:, None] * scales, 0)
        return self.reach / self.raw_slopes.shape[0] * sigma * jnp.exp(-exponents)


def _initial_slopes(n_knots: int, modulus: float, dtype: Any) -> Array:
    """Raw slopes of a ψ' that rises on the first piece, then falls to zero where m allows it."""
    falling = n_knots // 2
    place = jnp.arange(n_knots)
    flat = _softplus_inverse(modulus) if modulus > 0 else _NEAR_BOUND
    raw = jnp.where(place <= falling, _NEAR_BOUND, flat)
    first = _softplus_inverse(falling * (modulus or 1.0) + modulus)
    return jnp.where(place == 0, first, raw).astype(dtype)


def _softplus_inverse(y: float) -> float:
    return y + math.log(-math.expm1(-y))


def _check(kernel: int, modulus: float, n_knots: int, n_levels: int) -> None:
    if kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"`kernel` is {kernel}, expected an odd number of pixels, at least 3")
    if modulus < 0:
        raise ValueError(f"`modulus` is {modulus}, expected 0 (convex), 1 or another positive one")
    if n_knots < 4:
        raise ValueError(f"`n_knots` is {n_knots}, expected at least 4")
    if n_levels < 2:
        raise ValueError(f"`n_levels` is {n_levels}, expected at least 2")
