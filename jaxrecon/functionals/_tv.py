"""Total variation of an image or volume, with its proximal map by the dual.

TV(x) = w Σ ‖(Dx)_i‖, the Euclidean norm over axes at each pixel (isotropic) or the sum over axes
(anisotropic), D the forward differences with no difference across the border.

The proximal map is solved on its dual by fast gradient projection (Beck and Teboulle, IEEE Trans.
Image Process. 18, 2009) with a fixed number of iterations, so it is approximate: exact in the
limit. Where an exact total variation is wanted, give the primal-dual solver the term
``(L21(w), gradient(domain))`` instead.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, gradient, match_varying, pytree, static
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L1, L21


@pytree
class TV(Functional):
    """Total variation over some axes of an array; see the module's text.

    Example:
        >>> float(TV(2.0)(jnp.array([[0.0, 1.0], [0.0, 1.0]])))
        4.0
    """

    weight: Any = 1.0
    axes: tuple[int, ...] | None = static(default=None)
    spacing: tuple[float, ...] | float = static(default=1.0)
    isotropic: bool = static(default=True)
    n_iter: int = static(default=50)

    def __call__(self, x: Array) -> Array:
        return self._field_norm()(self._gradient(x)(x))

    def prox(self, x: Array, step: Any) -> Array:
        D = self._gradient(x)
        # ‖D‖² is at most 4 Σ 1/h², reached in the limit of large images.
        bound = sum(4 / h**2 for h in D.spacing)  # pyright: ignore[reportAttributeAccessIssue]
        threshold = jnp.maximum(jnp.asarray(step * self.weight, x.real.dtype), 1e-30)
        return _denoise(D, self._field_norm(1.0), x, threshold, bound, self.n_iter)

    def _gradient(self, x: Array) -> LinearOperator:
        return gradient(x, self.axes, spacing=self.spacing)

    def _field_norm(self, weight: Any = None) -> Functional:
        weight = self.weight if weight is None else weight
        return L21(weight) if self.isotropic else L1(weight)


def _denoise(D, field_norm, x, threshold, bound, n_iter) -> Array:
    """Argmin_u ½‖u − x‖² + threshold·‖Du‖ through its dual field p, u = x − threshold·Dᴴp."""
    step = 1 / (bound * threshold)

    def body(carry, _):
        p, q, t = carry
        u = x - threshold * D.adjoint(q)
        # The projection onto the dual ball is the conjugate's proximal map, whatever its step.
        new = field_norm.conjugate_prox(q + step * D.forward(u), 1.0)
        t_new = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return (new, new + ((t - 1) / t_new) * (new - p), t_new), None

    p = jnp.zeros_like(D.forward(x))
    start = match_varying((p, p, jnp.ones((), x.real.dtype)), x, threshold)
    (p, _, _), _ = jax.lax.scan(body, start, length=n_iter)
    return x - threshold * D.adjoint(p)
