"""Alternating direction method of multipliers: minimise Σ qⱼ(Aⱼ x) + Σ gᵢ(Cᵢ x).

The quadratic terms q enter the x-update, every other term is split by zᵢ = Cᵢ x and used through
its proximal map (Boyd et al., Found. Trends Mach. Learn. 3, 2011). With ρᵢ = μ sᵢ, sᵢ = 1/‖Cᵢ‖²,

    x⁺  = argmin Σ qⱼ(Aⱼ x) + Σ ρᵢ/2 ‖Cᵢ x − zᵢ + yᵢ/ρᵢ‖²                 (`_data_step`)      (1)
    wᵢ  = α Cᵢ x⁺ + (1 − α) zᵢ + yᵢ/ρᵢ                                                       (2)
    zᵢ⁺ = prox_{gᵢ/ρᵢ}(wᵢ),    yᵢ⁺ = ρᵢ (wᵢ − zᵢ⁺)                                           (3)

over-relaxed by α in (0, 2). The duals y are unscaled, so that μ may change at every step: by
inputs, or by balancing the relative residuals (Boyd §3.4.1; Wohlberg, arXiv:1704.06209).
`LinearisedADMM` replaces (1) by one step of proximal gradient, without any linear solve.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, Problem, pytree, stack, static, tree
from jaxrecon.solvers.gradient._smooth import gradient_of
from jaxrecon.solvers.splitting._blocks import (
    Term,
    block_norm,
    domain_term,
    mixed,
    primal_and_blocks,
    quadratic_and_split,
    real_dtype,
    rebalanced,
    relative,
    smooth_and_split,
    sum_of_adjoints,
    weighted_squares,
)
from jaxrecon.solvers.splitting._data_step import DataStep, data_step, pull_of


@pytree
class Splitting:
    """A problem made ready for splitting: the split terms with their sᵢ, the data step, ‖∇²Σq‖."""

    terms: tuple[Term, ...]
    scales: tuple
    solve: DataStep
    curvature: Array

    @property
    def operators(self) -> tuple[LinearOperator, ...]:
        """The Cᵢ."""
        return tuple(C for _, C in self.terms)


class AdmmState(NamedTuple):
    """X, z, unscaled duals y, Σ sCᴴz, Σ Cᴴy, the reconstruction, penalty μ and its adaptivity."""

    x: Any
    z: tuple
    y: tuple
    CHz: Any
    CHy: Any
    value: Any
    penalty: Array
    adaptivity: Array


class AdmmInfo(NamedTuple):
    """The larger of both residuals, relative (Boyd §3.3.1); each by itself; the penalty used."""

    residual: Array
    primal: Array
    dual: Array
    penalty: Array


@pytree
class ADMM(Algorithm):
    """ADMM with an exact or conjugate-gradient data step; see the module's text.

    The value is the z of the first term behind the identity, which lies in its set, else x.

    Args:
        penalty: initial μ, a tenth of the quadratic terms' curvature by default (1 without any).
            One among `run`'s inputs overrides it: ``inputs={"penalty": penalties}``.
        relaxation: α.
        adaptive: let μ follow the residuals, unless it is among the inputs.
        n_inner: conjugate gradients in (1), where no closed form is known.
        preconditioner: for them.

    Example:
        >>> from jaxrecon.core import gradient, identity, run
        >>> from jaxrecon.functionals import L21, LeastSquares
        >>> y = jnp.array([[0.0, 0.0, 3.0, 3.0]])
        >>> problem = Problem(((LeastSquares(y), identity(y)), (L21(1.0), gradient(y))))
        >>> run(ADMM(), problem, n_iter=100).value.round(3).tolist()
        [[0.5, 0.5, 2.5, 2.5]]
    """

    penalty: Any = None
    relaxation: Any = 1.6
    preconditioner: LinearOperator | None = None
    adaptive: bool = static(default=True)
    n_inner: int = static(default=5)

    def prepare(self, problem: Any) -> Splitting:
        """The data step, set up once."""
        return splitting(problem, self.n_inner, self.preconditioner)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> AdmmState:
        del key
        problem = self.prepare(problem)
        z = tuple(C.forward(x0) for C in problem.operators)
        y = jax.tree.map(jnp.zeros_like, z)
        CHz = pull_of(problem.operators, problem.scales, z)
        penalty = 0.1 * problem.curvature if self.penalty is None else self.penalty
        scalars = jnp.asarray(penalty, real_dtype(x0)), jnp.asarray(1.0, real_dtype(x0))
        return AdmmState(x0, z, y, CHz, jax.tree.map(jnp.zeros_like, x0), x0, *scalars)

    def step(self, problem: Any, state: AdmmState, inputs: Any) -> tuple[AdmmState, AdmmInfo]:
        problem = self.prepare(problem)
        mu = penalty_of(inputs, state.penalty)
        pull = tree.add_scaled(state.CHz, -1 / mu, state.CHy)
        x = problem.solve(mu, pull, state.x)
        Cx = tuple(C.forward(x) for C in problem.operators)
        z, y = _split_step(problem, mixed(state.z, Cx, self.relaxation), state.y, mu)
        CHz = pull_of(problem.operators, problem.scales, z)
        CHy = sum_of_adjoints(problem.operators, y)
        new = AdmmState(x, z, y, CHz, CHy, _value(problem, x, z), mu, state.adaptivity)
        residuals = _residuals(problem, state, new, Cx)
        info = AdmmInfo(jnp.maximum(*residuals), *residuals, mu)
        if not self.adaptive or inputs is not None:
            return new, info
        balanced = rebalanced(mu, state.adaptivity, *residuals, limit=5.0)
        return new._replace(penalty=balanced[0], adaptivity=balanced[1]), info

    def value(self, state: AdmmState) -> PyTree:
        return state.value

    def point(self, state: AdmmState) -> PyTree:
        """X, z and y, with the penalty, which is not differentiated, riding along."""
        return state.x, state.z, state.y, state.penalty

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """Equations (1) to (3) without relaxation."""
        x, z, y, penalty = point
        mu = jax.lax.stop_gradient(penalty)
        pull = pull_of(problem.operators, problem.scales, z)
        pull = tree.add_scaled(pull, -1 / mu, sum_of_adjoints(problem.operators, y))
        x = problem.solve.towards(mu, pull, x)
        Cx = tuple(C.forward(x) for C in problem.operators)
        return x, *_split_step(problem, Cx, y, mu), penalty

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The first identity's z, else x."""
        return _value(problem, point[0], point[1])


@pytree
class Linearised:
    """A problem for `LinearisedADMM`: the smooth terms, g, the split ones with sᵢ, and norms."""

    smooth: tuple[Term, ...]
    primal: Any
    terms: tuple[Term, ...]
    scales: tuple
    curvature: Array
    together: Array

    @property
    def operators(self) -> tuple[LinearOperator, ...]:
        """The Cᵢ."""
        return tuple(C for _, C in self.terms)


@pytree
class LinearisedADMM(Algorithm):
    """ADMM whose x-update is one step of proximal gradient: no linear solve, more iterations.

        x⁺ = prox_{g/L}(x − (∇q(x) + Σ Cᵢᴴ(ρᵢ(Cᵢ x − zᵢ) + yᵢ)) / L),  L = ‖∇²q‖ + μ‖Σ sᵢCᵢᴴCᵢ‖

    with every smooth term of known curvature in q and the first non-smooth term behind the identity
    as g (Ouyang, Chen, Lan, Pasiliao, SIAM J. Imaging Sci. 8, 2015); the other terms are split.

    Args:
        penalty: initial μ, by default a tenth of ‖∇²q‖.
        adaptive: let μ follow the residuals, unless it is among the inputs.
    """

    penalty: Any = None
    adaptive: bool = static(default=True)

    def prepare(self, problem: Any) -> Linearised:
        """The norms, estimated once."""
        return problem if isinstance(problem, Linearised) else _linearised(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> AdmmState:
        del key
        problem = self.prepare(problem)
        z = tuple(C.forward(x0) for C in problem.operators)
        y = jax.tree.map(jnp.zeros_like, z)
        penalty = 0.1 * problem.curvature if self.penalty is None else self.penalty
        scalars = jnp.asarray(penalty, real_dtype(x0)), jnp.asarray(1.0, real_dtype(x0))
        zero = jax.tree.map(jnp.zeros_like, x0)
        return AdmmState(
            x0, z, y, pull_of(problem.operators, problem.scales, z), zero, x0, *scalars
        )

    def step(self, problem: Any, state: AdmmState, inputs: Any) -> tuple[AdmmState, AdmmInfo]:
        problem = self.prepare(problem)
        mu = penalty_of(inputs, state.penalty)
        x, slope, L = _linearised_step(problem, state.x, state.CHz, state.CHy, mu)
        Cx = tuple(C.forward(x) for C in problem.operators)
        z, y = _split_step(problem, Cx, state.y, mu)
        CHz = pull_of(problem.operators, problem.scales, z)
        CHy = sum_of_adjoints(problem.operators, y)
        new = AdmmState(x, z, y, CHz, CHy, x, mu, state.adaptivity)
        primal, dual = _residuals(problem, state, new, Cx)
        moved = L * tree.norm(tree.sub(x, state.x))
        size = tree.norm(slope) + tree.norm(CHy) + L * tree.norm(x)
        dual = dual + moved / jnp.where(size > 0, size, 1)
        info = AdmmInfo(jnp.maximum(primal, dual), primal, dual, mu)
        if not self.adaptive or inputs is not None:
            return new, info
        balanced = rebalanced(mu, state.adaptivity, primal, dual, limit=5.0)
        return new._replace(penalty=balanced[0], adaptivity=balanced[1]), info

    def value(self, state: AdmmState) -> PyTree:
        return state.value

    def point(self, state: AdmmState) -> PyTree:
        """X, z and y, with the penalty, which is not differentiated, riding along."""
        return state.x, state.z, state.y, state.penalty

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """One step at constant penalty."""
        x, z, y, penalty = point
        mu = jax.lax.stop_gradient(penalty)
        CHz = pull_of(problem.operators, problem.scales, z)
        CHy = sum_of_adjoints(problem.operators, y)
        x, _, _ = _linearised_step(problem, x, CHz, CHy, mu)
        Cx = tuple(C.forward(x) for C in problem.operators)
        return x, *_split_step(problem, Cx, y, mu), penalty

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The x of a point."""
        del problem
        return point[0]


def splitting(
    problem: Any, n_inner: int = 5, preconditioner: LinearOperator | None = None
) -> Splitting:
    """Prepares a problem; one that is prepared already is left as it is.

    Raises:
        ValueError: there is nothing to split.
    """
    if isinstance(problem, Splitting):
        return problem
    quadratic, terms = quadratic_and_split(problem)
    if not terms:
        raise ValueError(
            "`problem` has only quadratic terms, nothing to split: use ConjugateGradient"
        )
    operators = [C for _, C in terms]
    scales = tuple(1 / block_norm(C) ** 2 for C in operators)
    solve = data_step(quadratic, operators, scales, n_inner=n_inner, preconditioner=preconditioner)
    return Splitting(terms, scales, solve, _curvature(quadratic, operators[0]))


def penalty_of(inputs: Any, default: Array) -> Array:
    """This iteration's μ: that of the inputs, if any."""
    return default if inputs is None else jnp.asarray(inputs["penalty"], default.dtype)


def _curvature(smooth: tuple[Term, ...], like: LinearOperator) -> Array:
    """‖Σ∇²q‖, 1 without any."""
    roots = [f.curvature_root(A) for f, A in smooth]
    if not roots:
        return jnp.ones((), real_dtype(like.domain))
    return block_norm(roots[0] if len(roots) == 1 else stack(roots)) ** 2


def _linearised(problem: Problem) -> Linearised:
    smooth, others = smooth_and_split(problem)
    rough = [t for t in others if not t[0].smooth]
    primal, _ = primal_and_blocks(rough)
    terms = tuple(t for t in others if t[0] is not primal)
    operators = [C for _, C in terms]
    scales = tuple(1 / block_norm(C) ** 2 for C in operators)
    scaled = [jnp.sqrt(s) * C for s, C in zip(scales, operators, strict=True)]
    if not scaled:
        raise ValueError("`problem` has nothing to split: use ProximalGradient or FISTA")
    together = block_norm(stack(scaled)) ** 2 if len(scaled) > 1 else jnp.ones_like(scales[0])
    return Linearised(smooth, primal, terms, scales, _curvature(smooth, operators[0]), together)


def _linearised_step(problem: Linearised, x: PyTree, CHz: PyTree, CHy: PyTree, mu: Array):
    slope = tree.zeros(tree.structs(x))
    slope = gradient_of(problem.smooth, x) if problem.smooth else slope
    CHCx = pull_of(problem.operators, problem.scales, [C.forward(x) for C in problem.operators])
    total = tree.add_scaled(tree.add(slope, CHy), mu, tree.sub(CHCx, CHz))
    # Without a smooth term the curvature is only a scale for the penalty.
    L = mu * problem.together + (problem.curvature if problem.smooth else 0.0)
    moved = tree.add_scaled(x, -1 / L, total)
    return (moved if problem.primal is None else problem.primal.prox(moved, 1 / L)), slope, L


def _split_step(problem: Any, Cx: tuple, y: tuple, mu: Array) -> tuple[tuple, tuple]:
    """Equation (3) with Cx relaxed as in (2)."""
    new_z, new_y = [], []
    for (g, _), s, Cxi, yi in zip(problem.terms, problem.scales, Cx, y, strict=True):
        w = tree.add_scaled(Cxi, 1 / (mu * s), yi)
        z = g.prox(w, 1 / (mu * s))
        new_z.append(z)
        new_y.append(tree.scale(mu * s, tree.sub(w, z)))
    return tuple(new_z), tuple(new_y)


def _value(problem: Splitting, x: PyTree, z: tuple) -> PyTree:
    i = domain_term(problem.terms)
    return x if i is None else z[i]


def _residuals(problem: Any, old: AdmmState, new: AdmmState, Cx: tuple) -> tuple[Array, Array]:
    """‖Cx − z‖ against ‖Cx‖ and ‖z‖ in units of ‖C‖; μ‖Σ sCᴴ(z − z⁺)‖ against ‖y‖ ‖C‖."""
    s = problem.scales
    size = jnp.maximum(weighted_squares(s, Cx, new.x), weighted_squares(s, new.z, new.x))
    primal = relative(weighted_squares(s, tree.sub(Cx, new.z), new.x), size)
    moved = new.penalty**2 * tree.sum_of_squares(tree.sub(new.CHz, old.CHz))
    duals = weighted_squares([1 / si for si in s], new.y, new.x)
    return primal, relative(moved, duals)
