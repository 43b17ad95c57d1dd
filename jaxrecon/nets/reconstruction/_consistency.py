"""Data-consistency layers: what the measurements have to say about an image that a network made.

    soft:       x − t Aᴴ(Ax − y)                                                             (1)
    proximal:   argmin_u ½‖Au − y‖² + μ/2 ‖u − x‖² = (AᴴA + μ)⁻¹ (Aᴴy + μ x)                 (2)
    hard:       x + A⁺(y − Ax)                                                               (3)

(2) is MoDL's (Aggarwal, Mani and Jacob, IEEE Trans. Med. Imaging 38, 2019); (3) is the nearest
image to x that explains the data as well as any does, for Cartesian sampling the replacement of
measured samples (Schlemper et al., IEEE Trans. Med. Imaging 37, 2018). (2) goes from (3) to x as μ
grows from zero.

A layer is called as ``layer(A, y, x)``. In a loop, ``layer.prepare(A, y)`` does once what every
iteration shares, such as the kernel of a Toeplitz gram, and ``layer.apply(prepared, x)`` the rest.
"""

import abc
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, Problem, identity, pytree, tree
from jaxrecon.functionals import LeastSquares
from jaxrecon.nets.reconstruction._scan import Positive
from jaxrecon.solvers.gradient._grams import with_fast_grams
from jaxrecon.solvers.gradient._smooth import gradient_of
from jaxrecon.solvers.linear import PseudoInverse, cg, pseudo_inverse
from jaxrecon.solvers.splitting._blocks import block_norm, real_dtype


class DataConsistency(nnx.Module):
    """The interface of data-consistency layers."""

    @abc.abstractmethod
    def prepare(self, A: LinearOperator, y: PyTree) -> Any:
        """What does not depend on the image nor on the layer's parameters, as a pytree."""

    @abc.abstractmethod
    def apply(self, prepared: Any, x: PyTree) -> PyTree:
        """The image closer to the data, from what `prepare` made."""

    def towards(self, prepared: Any, x: PyTree, at: PyTree) -> PyTree:
        """A map of `at` whose fixed point is ``apply(prepared, x)``; by default that itself.

        For implicit derivatives, which transpose it: an inner solver cannot be transposed.
        """
        del at
        return self.apply(prepared, x)

    def __call__(self, A: LinearOperator, y: PyTree, x: PyTree) -> PyTree:
        """The image closer to the data."""
        return self.apply(self.prepare(A, y), x)


class SoftConsistency(DataConsistency):
    """One gradient step on ½‖Ax − y‖² with a learned step size, equation (1). One parameter.

    Args:
        step: t to start from; 1 suits scans in the units of `normalise`.
        param_dtype: of t.
    """

    def __init__(self, step: float = 1.0, *, param_dtype: Any = jnp.float32):
        self.step = Positive(step, dtype=param_dtype)

    def prepare(self, A: LinearOperator, y: PyTree) -> Any:
        return with_fast_grams(((LeastSquares(y), A),))

    def apply(self, prepared: Any, x: PyTree) -> PyTree:
        return tree.add_scaled(x, -self.step(), gradient_of(prepared, x))


@pytree
class NormalEquations:
    """A, its gram, ‖A‖² and Aᴴy."""

    A: LinearOperator
    gram: LinearOperator
    size: Any
    rhs: Any


class ProximalConsistency(DataConsistency):
    """Equation (2) with a learned penalty. One parameter.

    In closed form where A has a `shifted_inverse`, else by conjugate gradients, whose derivative
    is that of the solution: their number costs no memory.

    Args:
        penalty: μ to start from; 0.05 suits scans in the units of `normalise`.
        n_iter: conjugate gradients at most. A solve of the gradient that needs more gives NaN.
        tol: relative residual at which they stop.
        param_dtype: of μ.
    """

    def __init__(
        self,
        penalty: float = 0.05,
        *,
        n_iter: int = 100,
        tol: float = 1e-5,
        param_dtype: Any = jnp.float32,
    ):
        self.penalty = Positive(penalty, dtype=param_dtype)
        self.n_iter = n_iter
        self.tol = tol

    def prepare(self, A: LinearOperator, y: PyTree) -> NormalEquations:
        return NormalEquations(A, A.gram, block_norm(A) ** 2, A.H(y))

    def apply(self, prepared: NormalEquations, x: PyTree) -> PyTree:
        mu, rhs, inverse = self._system(prepared, x)
        if inverse is not None:
            return inverse(rhs)
        system = prepared.gram + mu * identity(prepared.A.domain)
        return cg(system, rhs, x, n_iter=self.n_iter, tol=self.tol).value

    def towards(self, prepared: NormalEquations, x: PyTree, at: PyTree) -> PyTree:
        """The closed form, else one step of Richardson's iteration for (2)."""
        mu, rhs, inverse = self._system(prepared, x)
        if inverse is not None:
            return inverse(rhs)
        image = tree.add_scaled(prepared.gram(at), mu, at)
        return tree.add_scaled(at, 1 / (prepared.size + mu), tree.sub(rhs, image))

    def _system(self, prepared: NormalEquations, x: PyTree) -> tuple[Array, PyTree, Any]:
        mu = self.penalty().astype(real_dtype(x))
        rhs = tree.add_scaled(prepared.rhs, mu, x)
        return mu, rhs, prepared.A.shifted_inverse(mu)


@pytree
class Inversion:
    """A, A⁺ and y."""

    A: LinearOperator
    inverse: LinearOperator
    y: Any


class HardConsistency(DataConsistency):
    """Equation (3). No parameters.

    In closed form for masks, isometries and their compositions, such as single-coil Cartesian
    sampling; else by CGLS, which also regularises: noise in directions that A hardly sees is left.

    Args:
        n_iter: of CGLS.
        tol: of CGLS.
    """

    def __init__(self, *, n_iter: int = 20, tol: float = 1e-5):
        self.n_iter = n_iter
        self.tol = tol

    def prepare(self, A: LinearOperator, y: PyTree) -> Inversion:
        return Inversion(A, pseudo_inverse(A, n_iter=self.n_iter, tol=self.tol), y)

    def apply(self, prepared: Inversion, x: PyTree) -> PyTree:
        missing = tree.sub(prepared.y, prepared.A(x))
        return tree.add(x, prepared.inverse(missing))

    def towards(self, prepared: Inversion, x: PyTree, at: PyTree) -> PyTree:
        """The closed form.

        Raises:
            ValueError: there is none.
        """
        del at
        if isinstance(prepared.inverse, PseudoInverse):
            raise ValueError(
                f"`HardConsistency` has no closed form for {type(prepared.A).__name__}, so that it "
                "has no implicit derivative: take ProximalConsistency, or gradient='unrolled'"
            )
        return self.apply(prepared, x)


def fit_of(problem: Problem) -> tuple[LinearOperator, PyTree]:
    """A and y of a problem of one least-squares term.

    Raises:
        ValueError: other terms.
    """
    fits = [(f, A) for f, A in problem.terms if isinstance(f, LeastSquares) and f.weights is None]
    if len(problem.terms) != 1 or not fits or not isinstance(fits[0][1], LinearOperator):
        names = ", ".join(type(f).__name__ for f, _ in problem.terms)
        raise ValueError(
            f"`problem` has the terms ({names}), expected one unweighted LeastSquares of a linear "
            "operator: put weights W into the operator, diagonal(√W) @ A, and the data, √W y"
        )
    return fits[0][1], fits[0][0].data
