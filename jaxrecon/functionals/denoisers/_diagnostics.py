"""How a denoiser behaves near an image: whether plug-and-play iterations with it can be trusted.

With J the Jacobian of x ↦ D(x, σ): ‖J‖ ≤ 1 makes D nonexpansive there, ‖I − J‖ < 1 lets forward-
backward and Douglas-Rachford iterations converge (Ryu et al., ICML 2019), and J = Jᵀ is what makes
D the gradient of something, the condition under which RED has an objective (Reehorst and Schniter,
IEEE Trans. Comput. Imaging 5, 2019). All are local: say at which images they were measured.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import LinearOperator, Result, norm, operator, tree


@operator
class Jacobian(LinearOperator):
    """coefficient·I + factor·J at an image x, J the Jacobian of a denoiser there.

    Real-linear for complex x. The denoiser is differentiated in reverse mode alone, twice for J x.
    """

    denoiser: Any
    x: Array
    sigma: Any
    coefficient: Any = 0.0
    factor: Any = 1.0

    @property
    def domain(self) -> PyTree:
        return jax.ShapeDtypeStruct(self.x.shape, self.x.dtype)

    @property
    def range(self) -> PyTree:
        return self.domain

    def forward(self, x: Array) -> Array:
        # J x is the derivative of y ↦ Jᴴy, which is linear, along x: networks have no forward mode.
        _, pull = jax.vjp(self._transposed, jnp.zeros_like(x))
        return self._mixed(x, jnp.conj(pull(jnp.conj(x))[0]))

    def adjoint(self, y: Array) -> Array:
        return self._mixed(y, self._transposed(y))

    def _transposed(self, y: Array) -> Array:
        _, pull = jax.vjp(self._denoise, self.x)
        return jnp.conj(pull(jnp.conj(y))[0])

    def _denoise(self, x: Array) -> Array:
        return self.denoiser(x, self.sigma)

    def _mixed(self, x: Array, image: Array) -> Array:
        return tree.weak(self.coefficient, x) * x + tree.weak(self.factor, x) * image


def lipschitz(
    denoiser: Any, x: Array, sigma: Any, key: Key[Array, ""], *, n_iter: int = 50, tol: float = 1e-3
) -> Result:
    """‖J‖₂ at x, the local Lipschitz constant, by power iteration on JᵀJ.

    The estimate approaches the norm from below. Above 1 the denoiser is expansive at x.

    Returns:
        Result whose value is the norm, with a convergence status.

    Example:
        >>> from jaxrecon.functionals import SquaredL2
        >>> from jaxrecon.functionals.denoisers import ProxDenoiser
        >>> halve = ProxDenoiser(SquaredL2())
        >>> round(float(lipschitz(halve, jnp.ones(3), 1.0, jax.random.key(0)).value), 3)
        0.5
    """
    return norm(Jacobian(denoiser, jnp.asarray(x), sigma), key, n_iter=n_iter, tol=tol)


def residual_lipschitz(
    denoiser: Any, x: Array, sigma: Any, key: Key[Array, ""], *, n_iter: int = 50, tol: float = 1e-3
) -> Result:
    """‖I − J‖₂ at x, that of the noise estimate x − D(x, σ); as `lipschitz`."""
    residual = Jacobian(denoiser, jnp.asarray(x), sigma, 1.0, -1.0)
    return norm(residual, key, n_iter=n_iter, tol=tol)


def asymmetry(
    denoiser: Any, x: Array, sigma: Any, key: Key[Array, ""], *, n_probes: int = 8
) -> Float[Array, ""]:
    """‖J − Jᵀ‖ / ‖J‖ at x in Frobenius norms, estimated with random vectors.

    0 for a denoiser with a potential (any proximal map, any `GradientStep`); without it the value
    of `RED` is not what its gradient descends.
    """
    J = Jacobian(denoiser, jnp.asarray(x), sigma)

    def probe(key):
        v = tree.random_normal(key, J.domain)
        image = J.forward(v)
        return tree.sum_of_squares(image - J.adjoint(v)), tree.sum_of_squares(image)

    skew, size = jax.lax.map(probe, jax.random.split(key, n_probes))
    return tree.safe_sqrt(jnp.sum(skew) / jnp.maximum(jnp.sum(size), jnp.finfo(x.dtype).tiny))


@functools.partial(jax.jit, static_argnames="shape")
def conv_norm(kernel: Array, shape: tuple[int, ...]) -> Float[Array, ""]:
    """The norm of a circular convolution between channels on images of a given shape.

    At every frequency the convolution is a small matrix between channels, whose largest singular
    value over all frequencies is the norm (Sedghi, Gupta and Long, ICLR 2019). Dividing a kernel
    by it makes a layer of Lipschitz constant one. For zero padding instead of periodic borders
    give the image's shape plus taps − 1: the norm is then a bound.

    Args:
        kernel: ``(*taps, in, out)``, as flax stores it.
        shape: of the image, at least the taps.

    Example:
        >>> float(conv_norm(jnp.ones((3, 3, 1, 1)), (8, 8)))
        9.0
    """
    rank = len(shape)
    if kernel.ndim != rank + 2 or any(k > n for k, n in zip(kernel.shape, shape, strict=False)):
        raise ValueError(
            f"`kernel` has shape {kernel.shape}, expected {rank} tap axes no longer than {shape}, "
            "then input and output channels"
        )
    spectrum = jnp.fft.fftn(kernel, shape, axes=range(rank))
    matrices = spectrum.reshape(int(np.prod(shape)), *kernel.shape[rank:])
    return jnp.max(jnp.linalg.norm(matrices, 2, (1, 2)))
