"""Primal-dual hybrid gradient: minimise g(x) + Σ fᵢ(Aᵢ x) with proximal maps alone.

Chambolle and Pock (J. Math. Imaging Vis. 40, 2011), relaxed as in Condat (J. Optim. Theory Appl.
158, 2013):

    x̃  = prox_{τ g}(x − τ Σ Aᵢᴴ yᵢ)
    ỹᵢ = prox_{σᵢ fᵢ*}(yᵢ + σᵢ Aᵢ (x̃ + θ (x̃ − x))),    θ = 1                                (1)
    (x, y)⁺ = (x, y) + ρ ((x̃, ỹ) − (x, y)),    0 < ρ < 2                                     (2)

with τ = 1/(c√β) T and σᵢ = √β/c Sᵢ. The scalings are Sᵢ = 1/‖Aᵢ‖² and T = 1, so that operators of
different units stand side by side, or the diagonal ones of Pock and Chambolle (ICCV 2011),
Sᵢ = 1/(|Aᵢ| 1) and T = 1/Σ(|Aᵢ|ᴴ 1). In either case c is the norm of the scaled operators together:
a projector and a gradient excite different images, so it is nearer to 1 than to √n.

The balance β = σ/τ follows the residuals with vanishing adaptivity (Goldstein, Li, Yuan, Esser,
Baraniuk, arXiv:1305.0546). With γ-strongly convex g or f* it follows algorithm 2 of Chambolle and
Pock instead, θ = 1/√(1 + 2γτ) and τ⁺ = θτ, σ⁺ = σ/θ, whose squared error falls as 1/N². Each step
costs one forward and one adjoint of every operator: A x and Aᴴ y are carried.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, Problem, diagonal, pytree, stack, static, tree
from jaxrecon.core.operators._elementary import Gradient
from jaxrecon.solvers.splitting._blocks import (
    Term,
    block_norm,
    is_quadratic,
    mixed,
    primal_and_blocks,
    real_dtype,
    rebalanced,
    relative,
    sum_of_adjoints,
    through_gram,
    weighted_squares,
)


class Scales(NamedTuple):
    """T and Sᵢ over c, the block norms ‖Aᵢ‖, and the problem's own size of a subgradient."""

    primal: Any
    dual: tuple
    norms: tuple
    size: Array


class Look(NamedTuple):
    """What a look at a step finds: residuals, those the balance follows, and the size of duals."""

    residuals: tuple[Array, Array]
    lead: tuple[Array, Array]
    size: Array


class PdhgState(NamedTuple):
    """Relaxed x, Ax, y, Σ Aᴴy; the proximal point x̃; scales; balance and its adaptivity; how many
    steps were done, and the residuals of the last look.
    """

    x: Any
    Ax: tuple
    y: tuple
    AHy: Any
    proximal: Any
    scales: Scales
    balance: Array
    adaptivity: Array
    count: Array
    residuals: tuple[Array, Array]


class PdhgInfo(NamedTuple):
    """The larger of both residuals, relative; each by itself; and the balance σ/τ."""

    residual: Array
    primal: Array
    dual: Array
    balance: Array


@pytree
class PDHG(Algorithm):
    """Adaptive, over-relaxed Chambolle-Pock; see the module's text.

    The primal g is the first non-smooth term behind the identity, or else the first smooth one
    there; every other term is dualised through its proximal map.

    Args:
        balance: initial σ/τ.
        steps: (τ, (σ₁, ...)) to keep, one σ for each dualised term; found and adapted if None.
        primal_convexity: γ of g for acceleration.
        dual_convexity: γ of every fᵢ*, the inverse Lipschitz constant of ∇fᵢ; give one of both.
        relaxation: ρ in (0, 2); by default 1.9, and 1 for the accelerated variants.
        adaptive: let the balance follow the residuals, where neither steps nor convexity are given.
        diagonal: diagonal scalings. The row sums of |Aᵢ| are taken from Aᵢ(1), exact for entries
            ≥ 0 as projectors have them, and known for gradients; a scaling by other sums still
            converges. g and the fᵢ need proximal maps for arrays of steps.
        check_every: iterations from one look at the residuals to the next. They cost about a
            fifth of a cheap step; between looks the info repeats the last ones.

    Example:
        >>> from jaxrecon.core import gradient, identity, run
        >>> from jaxrecon.functionals import L21, LeastSquares
        >>> y = jnp.array([[0.0, 0.0, 3.0, 3.0]])
        >>> problem = Problem(((LeastSquares(y), identity(y)), (L21(1.0), gradient(y))))
        >>> run(PDHG(), problem, n_iter=200).value.round(3).tolist()
        [[0.5, 0.5, 2.5, 2.5]]
    """

    balance: Any = 1.0
    steps: Any = None
    primal_convexity: Any = None
    dual_convexity: Any = None
    relaxation: float | None = static(default=None)
    adaptive: bool = static(default=True)
    diagonal: bool = static(default=False)
    check_every: int = static(default=1)

    def prepare(self, problem: Problem) -> Problem:
        """Unweighted fits through their grams, where those are faster."""
        if self.diagonal:
            return problem
        return Problem(tuple(through_gram(f, A) for f, A in problem.terms))

    def init(self, problem: Problem, x0: PyTree, *, key: Key[Array, ""] | None = None) -> PdhgState:
        del key
        problem = self.prepare(problem)
        _, blocks = primal_and_blocks(problem.terms)
        Ax = tuple(A.forward(x0) for _, A in blocks)
        y = jax.tree.map(jnp.zeros_like, Ax)
        real = real_dtype(x0)
        scalars = jnp.asarray(self.balance, real), jnp.asarray(1.0, real)
        AHy = jax.tree.map(jnp.zeros_like, x0)
        if self.steps is not None:
            scales = _given_scales(self.steps, blocks, x0)
        else:
            scales = scales_of(blocks, x0, diagonal_scalings=self.diagonal)
        unseen = jnp.zeros((), jnp.int32), (jnp.ones((), real), jnp.ones((), real))
        return PdhgState(x0, Ax, y, AHy, x0, scales, *scalars, *unseen)

    def step(self, problem: Problem, state: PdhgState, inputs: Any) -> tuple[PdhgState, PdhgInfo]:
        del inputs
        g, blocks = primal_and_blocks(problem.terms)
        operators = [A for _, A in blocks]
        tau, sigmas = steps_of(state.scales, state.balance)
        theta, balance = self._accelerated(state.balance, tau, sigmas)
        _, sigmas = steps_of(state.scales, balance)

        x = proximal(g, descend(state.x, tau, state.AHy), tau)
        Ax = tuple(A.forward(x) for A in operators)
        Ax_bar = mixed(state.Ax, Ax, 1 + theta)
        y = dual_steps(blocks, state.y, Ax_bar, sigmas)
        AHy = sum_of_adjoints(operators, y)

        moved = (x, Ax, y, AHy)
        look = self._looked(state, lambda: _look(state, moved, tau, sigmas, theta))
        balance, adaptivity = self._rebalanced(balance, state.adaptivity, *look.lead)
        if self._relaxation() != 1:
            before = state.x, state.Ax, state.y, state.AHy
            moved = mixed(before, moved, self._relaxation())
        steps = (state.scales._replace(size=look.size), balance, adaptivity)
        seen = (state.count + 1, look.residuals)
        new = PdhgState(moved[0], moved[1], moved[2], moved[3], x, *steps, *seen)
        return new, PdhgInfo(jnp.maximum(*look.residuals), *look.residuals, state.balance)

    def value(self, state: PdhgState) -> PyTree:
        return state.proximal

    def point(self, state: PdhgState) -> PyTree:
        """(x, y), with the step sizes, which are not differentiated, riding along."""
        return state.x, state.y, (state.scales, state.balance)

    def fixed_point(self, problem: Problem, point: PyTree) -> PyTree:
        """Equation (1) on (x, y)."""
        x, y, steps = point
        g, blocks = primal_and_blocks(problem.terms)
        tau, sigmas = steps_of(*jax.lax.stop_gradient(steps))
        AHy = sum_of_adjoints([A for _, A in blocks], y)
        new = proximal(g, descend(x, tau, AHy), tau)
        x_bar = tree.add_scaled(new, 1.0, tree.sub(new, x))
        return new, dual_steps(blocks, y, tuple(A.forward(x_bar) for _, A in blocks), sigmas), steps

    def solution(self, problem: Problem, point: PyTree) -> PyTree:
        """The x of (x, y)."""
        del problem
        return point[0]

    def _relaxation(self) -> float:
        plain = self.primal_convexity is None and self.dual_convexity is None
        return (1.9 if plain else 1.0) if self.relaxation is None else self.relaxation

    def _accelerated(self, balance: Array, tau: Any, sigmas: tuple) -> tuple[Any, Array]:
        """θ, and the balance after it: τ⁺σ⁺ = τσ, so that only the balance moves."""
        if self.primal_convexity is not None:
            theta = 1 / jnp.sqrt(1 + 2 * self.primal_convexity * _smallest((tau,)))
            return theta, (balance / theta**2).astype(balance.dtype)
        if self.dual_convexity is not None:
            theta = 1 / jnp.sqrt(1 + 2 * self.dual_convexity * _smallest(sigmas))
            return theta, (balance * theta**2).astype(balance.dtype)
        return 1.0, balance

    def _looked(self, state: PdhgState, look: Callable[[], Look]) -> Look:
        """A look at this step if it is due, else the last one, which asks for no rebalancing."""
        if self.check_every == 1:
            return look()
        even = state.residuals[0], state.residuals[0]
        last = Look(state.residuals, even, state.scales.size)
        return jax.lax.cond(state.count % self.check_every == 0, look, lambda: last)

    def _rebalanced(self, balance, adaptivity, primal, dual) -> tuple[Array, Array]:
        """The next σ/τ: smaller (longer primal steps) while the primal residual leads."""
        given = (self.primal_convexity, self.dual_convexity, self.steps)
        if any(g is not None for g in given) or not self.adaptive:
            return balance, adaptivity
        return rebalanced(balance, adaptivity, dual, primal, limit=1.5)


def _look(state: PdhgState, moved: tuple, tau: Any, sigmas: tuple, theta: Any) -> Look:
    """Residuals of a step; the balance follows them in the geometric yardstick."""
    residuals = residuals_of(state, moved, tau, sigmas, theta)
    now = weighted_squares(squared_norms(state.scales), moved[2], moved[0])
    size = jnp.maximum(state.scales.size, now)
    return Look(residuals, (residuals[0] * geometric_yardstick(now, size), residuals[1]), size)


def scales_of(blocks: tuple[Term, ...], x0: PyTree, *, diagonal_scalings: bool = False) -> Scales:
    """The scalings of the module's text; no gradient flows through them."""
    blocks = jax.lax.stop_gradient(blocks)
    operators = [A for _, A in blocks]
    norms = tuple(block_norm(A) for A in operators)
    T, S = jnp.ones(()), tuple(1 / n**2 for n in norms)
    if diagonal_scalings:
        T, S = _diagonal_scalings(operators)
    scaled = [_times_root(A, s, T) for A, s in zip(operators, S, strict=True)]
    together = jnp.ones(())
    if len(scaled) > 1 or diagonal_scalings:
        together = jnp.minimum(block_norm(stack(scaled)), len(scaled) ** 0.5)
    size = _data_size(blocks, real_dtype(x0))
    T, S = jax.tree.map(lambda s: (s / together).astype(size.dtype), (T, S))
    return jax.lax.stop_gradient(Scales(T, S, norms, size))


def _given_scales(steps: tuple, blocks: tuple[Term, ...], x0: PyTree) -> Scales:
    """Steps as they are at balance 1, with ‖Aᵢ‖ ≈ 1/√(τσᵢ) to measure residuals by."""
    real = real_dtype(x0)
    tau, sigmas = jax.tree.map(lambda s: jnp.asarray(s, real), steps)
    if len(sigmas) != len(blocks):
        raise ValueError(f"`steps` has {len(sigmas)} dual steps for {len(blocks)} dualised terms")
    norms = tuple(1 / jnp.sqrt(tau * sigma) for sigma in sigmas)
    return jax.lax.stop_gradient(Scales(tau, tuple(sigmas), norms, _data_size(blocks, real)))


def _data_size(blocks: tuple[Term, ...], real: Any) -> Array:
    """Σ ‖Aᴴ(data)‖² of the quadratic terms."""
    size = jnp.zeros((), real)
    for f, A in blocks:
        size = size + tree.sum_of_squares(f.normal(A)[1]) if is_quadratic((f, A)) else size
    return size


def steps_of(scales: Scales, balance: Array) -> tuple[Any, tuple]:
    """τ, a scalar or an array like x, and the σᵢ."""
    root = jnp.sqrt(balance)
    return scales.primal / root, tuple(s * root for s in scales.dual)


def descend(x: PyTree, tau: Any, slope: PyTree) -> PyTree:
    """X − τ·slope."""
    return tree.add_scaled(x, -tau, slope)


def proximal(g: Any | None, x: PyTree, tau: Any) -> PyTree:
    """The proximal map of τ g, the identity without a g."""
    return x if g is None else g.prox(x, tau)


def dual_steps(blocks: tuple[Term, ...], y: tuple, Ax: tuple, sigmas: tuple) -> tuple:
    """prox_{σᵢ fᵢ*}(yᵢ + σᵢ Aᵢx) for every block."""
    parts = zip(blocks, y, Ax, sigmas, strict=True)
    return tuple(f.conjugate_prox(tree.add_scaled(yi, s, Axi), s) for (f, _), yi, Axi, s in parts)


def residuals_of(state: Any, moved: tuple, tau: Any, sigmas: tuple, theta: Any = 1.0):
    """Primal and dual optimality residuals of a step from (x, Ax, y, Aᴴy) to `moved`.

    (x − x̃)/τ − Aᴴ(y − ỹ) ∈ ∂g(x̃) + Aᴴỹ, against the largest ‖A‖‖y‖ or ‖Aᴴ(data)‖ so far, since
    Aᴴy itself tends to zero without a g; (y − ỹ)/σ − θA(x − x̃) ∈ ∂f*(ỹ) − Ax̃ against ‖Ax‖, both in
    normalised units.
    """
    x, Ax, y, AHy = moved
    squares = squared_norms(state.scales)
    primal = tree.add_scaled(tree.sub(AHy, state.AHy), -1 / tau, tree.sub(x, state.x))
    gaps = []
    for old, new, y_old, y_new, s in zip(state.Ax, Ax, state.y, y, sigmas, strict=True):
        gap = tree.scale(theta, tree.sub(new, old))
        gaps.append(tree.add_scaled(gap, -1 / s, tree.sub(y_new, y_old)))
    inverse = tuple(1 / s for s in squares)
    size = jnp.maximum(state.scales.size, weighted_squares(squares, y, x))
    dual = relative(weighted_squares(inverse, gaps, x), weighted_squares(inverse, Ax, x))
    return relative(tree.sum_of_squares(primal), size), dual


def geometric_yardstick(now: Array, largest: Array) -> Array:
    """What turns a residual relative to √largest into one relative to their geometric mean.

    The duals of a fidelity end far smaller than they began: balancing against either size alone
    was several times slower in tomography, one leaving the primal steps too long, one too short.
    """
    return jnp.where(now > 0, largest / jnp.where(now > 0, now, 1), 1) ** 0.25


def squared_norms(scales: Scales) -> tuple:
    """‖Aᵢ‖²."""
    return tuple(n**2 for n in scales.norms)


def _smallest(steps: tuple) -> Array:
    return jnp.min(jnp.stack([jnp.min(s) for s in steps]))


def _diagonal_scalings(operators: list[LinearOperator]) -> tuple[Any, tuple]:
    """T = 1/Σ|Aᵢ|ᴴ1 and Sᵢ = 1/|Aᵢ|1, without a step where a sum is zero."""
    rows, columns = zip(*(_absolute_sums(A) for A in operators), strict=True)
    invert = lambda s: jnp.where(s > 0, 1 / jnp.where(s > 0, s, 1), 1)  # noqa: E731
    return invert(sum(columns)), tuple(invert(r) for r in rows)


def _absolute_sums(A: LinearOperator) -> tuple[Array, Array]:
    if isinstance(A, Gradient):
        # One number for all rows, so that groups along the gradient's axis keep their proximal map.
        return jnp.asarray(2 / min(A.spacing)), jnp.asarray(sum(4 / h for h in A.spacing))
    domain, codomain = A.domain, A.range
    single = all(isinstance(s, jax.ShapeDtypeStruct) for s in (domain, codomain))
    if not single or jnp.issubdtype(codomain.dtype, jnp.complexfloating):
        raise ValueError(
            f"`diagonal` scalings need the sums of |A|, which are not known for the "
            f"{type(A).__name__} in `problem`: pass diagonal=False"
        )
    ones = lambda struct: jnp.ones(struct.shape, struct.dtype)  # noqa: E731
    return jnp.abs(A(ones(domain))), jnp.abs(A.H(ones(codomain)))


def _times_root(A: LinearOperator, S: Any, T: Any) -> LinearOperator:
    """S^½ A T^½."""
    S, T = jnp.sqrt(S), jnp.sqrt(T)
    A = S * A if S.ndim == 0 else diagonal(S, A.range) @ A
    return T * A if T.ndim == 0 else A @ diagonal(T, A.domain)
