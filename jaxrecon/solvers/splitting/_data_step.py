"""The data step that splitting and plug-and-play methods share.

    x = argmin_x Σ qⱼ(Aⱼ x) + μ/2 Σ sᵢ ‖Cᵢ x − vᵢ‖²,  qⱼ quadratic,
    (G + μ K) x = b + μ Σ sᵢ Cᵢᴴ vᵢ,   G = Σ ∇²(qⱼ∘Aⱼ),  K = Σ sᵢ CᵢᴴCᵢ                     (1)

What does not depend on the penalty μ is set up once by `data_step`, the first of these that fits:

- `FourierStep`: G and K are circular convolutions (blur, periodic differences, identities);
- `ShiftedStep`: K and all of G but one term are multiples of the identity, and that term's operator
  has a `shifted_inverse` (Fourier sampling, masks, super-resolution, orthogonal rows);
- `KrylovStep`: conjugate gradients from the last x, a fixed number of them.

For a quadratic functional `curvature_root` is taken to be exact: BᴴB = ∇²(q∘A).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Circulant, LinearOperator, pytree, run, static, tree
from jaxrecon.solvers.linear._cg import ConjugateGradient, LinearSystem
from jaxrecon.solvers.splitting._blocks import (
    Term,
    block_norm,
    multiple_of_identity,
    sum_of_adjoints,
)


@pytree
class FourierStep:
    """(G + μK)⁻¹ by two Fourier transforms."""

    rhs: Any
    gram: Array
    penalty: Array
    struct: jax.ShapeDtypeStruct = static()

    def __call__(self, mu: Any, pull: PyTree, x: PyTree) -> PyTree:
        """The x of (1) with pull = Σ sᵢCᵢᴴvᵢ; the last argument, a start, is not needed."""
        del x
        eigenvalues = self.gram + mu * self.penalty
        inverse = Circulant(jnp.where(eigenvalues > 0, 1 / eigenvalues, 0), self.struct)
        return inverse.forward(tree.add_scaled(self.rhs, mu, pull))

    towards = __call__


@pytree
class ShiftedStep:
    """(BᴴB + shift)⁻¹ in closed form; B is None where G is a multiple of the identity."""

    rhs: Any
    root: LinearOperator | None
    gram: Any
    penalty: Any

    def __call__(self, mu: Any, pull: PyTree, x: PyTree) -> PyTree:
        """The x of (1) with pull = Σ sᵢCᵢᴴvᵢ; the last argument, a start, is not needed."""
        del x
        shift = self.gram + mu * self.penalty
        rhs = tree.add_scaled(self.rhs, mu, pull)
        if self.root is None:
            return tree.scale(1 / shift, rhs)
        return self.root.shifted_inverse(shift).forward(rhs)  # pyright: ignore[reportOptionalMemberAccess]

    towards = __call__


@pytree
class KrylovStep:
    """Conjugate gradients on (1), a fixed number from the last x, so that they unroll."""

    rhs: Any
    gram: LinearOperator | None
    penalty: LinearOperator
    preconditioner: LinearOperator | None
    n_inner: int = static()

    def __call__(self, mu: Any, pull: PyTree, x: PyTree) -> PyTree:
        """The x of (1) with pull = Σ sᵢCᵢᴴvᵢ, from x on."""
        rhs = tree.add_scaled(self.rhs, mu, pull)
        system = LinearSystem(self._operator(mu), rhs, self.preconditioner)
        options: dict[str, Any] = {"n_iter": self.n_inner, "gradient": "unrolled", "remat": False}
        return run(ConjugateGradient(), system, x, **options).value

    def towards(self, mu: Any, pull: PyTree, x: PyTree) -> PyTree:
        """One Richardson step from x: a map whose fixed point is the solution of (1).

        For implicit derivatives, whose adjoint system then holds this one too: conjugate gradients
        are no linear map that it could transpose.
        """
        operator = self._operator(mu)
        step = 1 / block_norm(operator)
        residual = tree.sub(tree.add_scaled(self.rhs, mu, pull), operator.forward(x))
        return tree.add_scaled(x, step, residual)

    def _operator(self, mu: Any) -> LinearOperator:
        shift = mu * self.penalty
        return shift if self.gram is None else self.gram + shift


DataStep = FourierStep | ShiftedStep | KrylovStep


def data_step(
    quadratic: Sequence[Term],
    operators: Sequence[LinearOperator],
    scales: Sequence[Any],
    *,
    n_inner: int = 5,
    preconditioner: LinearOperator | None = None,
) -> DataStep:
    """Prepares (1): a pytree, called as ``solve(mu, pull, x)`` with pull = Σ sᵢ Cᵢᴴ vᵢ.

    Args:
        quadratic: the terms (qⱼ, Aⱼ); may be empty.
        operators: the Cᵢ, at least one.
        scales: the sᵢ.
        n_inner: conjugate gradients where there is no closed form.
        preconditioner: for them, about (G + μK)⁻¹.
    """
    domain = operators[0].domain
    normals = [f.normal(A) for f, A in quadratic]
    rhs = functools.reduce(tree.add, (b for _, b in normals), tree.zeros(domain))
    roots = [f.curvature_root(A) for f, A in quadratic]
    penalties = [jnp.sqrt(s) * C for s, C in zip(scales, operators, strict=True)]
    closed = _fourier(rhs, roots, penalties, domain) or _shifted(rhs, roots, penalties)
    if closed is not None:
        return closed
    grams = [G for G, _ in normals]
    gram = functools.reduce(lambda a, b: a + b, grams) if grams else None
    weighted = [s * C.gram for s, C in zip(scales, operators, strict=True)]
    penalty = functools.reduce(lambda a, b: a + b, weighted)
    return KrylovStep(rhs, gram, penalty, preconditioner, n_inner)


def pull_of(
    operators: Sequence[LinearOperator], scales: Sequence[Any], targets: Sequence[PyTree]
) -> PyTree:
    """Σ sᵢ Cᵢᴴ vᵢ, what a data step is pulled towards."""
    scaled = [tree.scale(s, v) for s, v in zip(scales, targets, strict=True)]
    return sum_of_adjoints(operators, scaled)


def _fourier(rhs, roots, penalties, domain) -> FourierStep | None:
    if not isinstance(domain, jax.ShapeDtypeStruct):
        return None
    spectra = [[B.gram_spectrum() for B in group] for group in (roots, penalties)]
    if any(s is None for group in spectra for s in group):
        return None
    zero = jnp.zeros((), jnp.finfo(domain.dtype).dtype)
    return FourierStep(rhs, sum(spectra[0], zero), sum(spectra[1], zero), domain)


def _shifted(rhs, roots, penalties) -> ShiftedStep | None:
    multiples = [multiple_of_identity(C) for C in penalties]
    curvatures = [multiple_of_identity(B) for B in roots]
    others = [B for B, c in zip(roots, curvatures, strict=True) if c is None]
    known = [c for c in multiples if c is not None]
    if len(known) < len(multiples) or len(others) > 1:
        return None
    root = others[0] if others else None
    if root is not None and root.shifted_inverse(jnp.ones(())) is None:
        return None
    gram = sum((c for c in curvatures if c is not None), 0.0)
    return ShiftedStep(rhs, root, gram, sum(known, 0.0))
