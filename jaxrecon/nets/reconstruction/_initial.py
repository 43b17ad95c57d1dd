"""First images for a network to improve: ``initial(A, y)``, each with an absolute scale.

Each is a pytree; numbers in it may be `Positive`, and are then learned by the module it stands in.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, pytree, static, tree
from jaxrecon.nets.reconstruction._scan import inverse_square_norm, steepest_descent
from jaxrecon.physics import ct
from jaxrecon.solvers import linear


@pytree
class MatchedAdjoint:
    """The multiple of AᴴWy that explains the data best.

    Attributes:
        weights: W, such as density compensation, broadcastable to y; none by default.
    """

    weights: Array | None = None

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The image of measurements y."""
        if self.weights is None:
            step, back = steepest_descent(A, y)
            return tree.scale(step, back)
        back = A.H(jax.tree.map(lambda v: self.weights * v, y))
        again = A(back)
        size = tree.sum_of_squares(again)
        found = size > 0
        factor = jnp.where(found, tree.dot(again, y) / jnp.where(found, size, 1), 0)
        return tree.scale(factor, back)


@pytree
class FilteredBackprojection:
    """`ct.fbp`, for parallel and fan beams.

    Attributes:
        window: of the filter.
        scan: as in `ct.fbp`, needed for fan beams whose poses are traced.
    """

    window: str = static(default="ramp")
    scan: str | None = static(default=None)

    def __call__(self, A: LinearOperator, y: Array) -> Array:
        """The image of a sinogram."""
        if not isinstance(A, ct.Parallel | ct.FourierParallel | ct.Fan):
            raise ValueError(
                f"`A` is a {type(A).__name__}, expected a parallel or fan beam of `physics.ct`: "
                "take another initial image, such as `MatchedAdjoint`"
            )
        return ct.fbp(A, y, window=self.window, scan=self.scan)


@pytree
class PseudoInverse:
    """A⁺y, in closed form where there is one, else by CGLS.

    Attributes:
        n_iter: of CGLS, which regularises when stopped early.
        tol: of CGLS.
    """

    n_iter: int = static(default=20)
    tol: float = static(default=1e-4)

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The image of least norm among those that explain the data best."""
        return linear.pseudo_inverse(A, n_iter=self.n_iter, tol=self.tol)(y)


@pytree
class Tikhonov:
    """The minimiser of ½‖Ax − y‖² + ½ w/t ‖x‖², with t of `normalise`, so that w has no unit.

    Attributes:
        weight: w.
        n_iter: conjugate gradients at most, where there is no closed form.
        tol: of them.
    """

    weight: Any = 0.05
    n_iter: int = static(default=100)
    tol: float = static(default=1e-5)

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The regularised image."""
        damping = self.weight / inverse_square_norm(A, y)
        if A.shifted_inverse(damping) is not None:
            return linear.tikhonov(A, y, damping)
        options: dict[str, Any] = {"n_iter": self.n_iter, "tol": self.tol}
        return linear.lstsq(A, y, damping=damping, **options).value


@pytree
class FromMeasurements:
    """A map learned beforehand that needs no operator, such as the `linear_mmse` estimator.

    Its arrays are no parameters, so training leaves them as they are: a frozen layer.

    Attributes:
        estimate: pytree callable ``estimate(y)``.
    """

    estimate: Any

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The estimate from y alone."""
        del A
        return self.estimate(y)
