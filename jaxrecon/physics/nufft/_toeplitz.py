"""AᴴWA of a non-uniform Fourier transform as a convolution: two FFTs of twice the size.

    (AᴴWA)_{mn} = T(m − n),  T(n) = (1/ΠN) Σ_j w_j exp(2πi Σ_d k_{jd} n_d / N_d)
    (1)

T is one type 1 transform of the weights onto 2N pixels; its own transform is the operator's
spectrum, real because the weights are. Zeros are put on an axis just before its transform and cut
off just after, as in `_grid`.

Source: Fessler et al., "Toeplitz-based iterative image reconstruction for MRI with correction for
magnetic field inhomogeneity", IEEE Trans. Signal Process. 53 (2005).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxrecon.core import LinearOperator, operator, static
from jaxrecon.physics.nufft import _grid, _transform
from jaxrecon.physics.nufft._plan import Plan, make_plan, smooth_size


@operator
class Toeplitz(LinearOperator):
    """Convolution with a real spectrum, as `NUFFT.gram` and `NUFFT.weighted_gram` build it.

    Attributes:
        spectrum: the convolution's transfer function, `(*batch or 1, *grid)`, axes of the grid in
            the reverse order of the image's.
        struct: the image, with leading batch axes.
    """

    spectrum: Float[Array, "..."]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return self.struct

    def forward(self, x: Complex[Array, "..."]) -> Complex[Array, "..."]:
        n_dims = self.spectrum.ndim - 1
        image_shape = x.shape[x.ndim - n_dims :]
        grid_shape = self.spectrum.shape[:0:-1]
        images = x.reshape(-1, *image_shape)
        grids = _grid.oversampled_fft(images, grid_shape) * self.spectrum
        return _grid.cropped_ifft(grids, image_shape).reshape(x.shape)

    def adjoint(self, y: Complex[Array, "..."]) -> Complex[Array, "..."]:
        return self.forward(y)


def toeplitz(
    plan: Plan, points: Float[Array, "point axis"], weights: Array, struct: jax.ShapeDtypeStruct
) -> Toeplitz:
    """Equation (1) for weights `(point,)`, or `(batch, point)` with their own for each image."""
    weights = jnp.atleast_2d(weights).astype(struct.dtype)
    shape = tuple(2 * n for n in plan.image_shape)
    kernels = jax.vmap(lambda w: _transform.apply_adjoint(_doubled(plan, points), 2 * points, w))(
        weights
    )
    kernels = kernels * (math.sqrt(math.prod(shape)) / math.prod(plan.image_shape))
    for axis in range(1, kernels.ndim):  # the index −N occurs in no difference of two pixels
        keep = jnp.arange(kernels.shape[axis]) > 0
        kernels = kernels * keep.reshape(-1, *(1,) * (kernels.ndim - 1 - axis))
    grid_shape = tuple(smooth_size(2 * n) for n in plan.image_shape)
    return Toeplitz(jnp.real(_grid.oversampled_fft(kernels, grid_shape)), struct)


def _doubled(plan: Plan, points: Float[Array, "point axis"]) -> Plan:
    shape: Any = tuple(2 * n for n in plan.image_shape)
    sigma = plan.oversampling if plan.backend == "xla" else None
    return make_plan(shape, points.shape[0], plan.eps, points.dtype, plan.backend, sigma)
