"""The non-uniform Fourier transform as a `LinearOperator`."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float, Inexact

from jaxrecon.core import LinearOperator, operator, replace, static
from jaxrecon.physics.nufft import _transform
from jaxrecon.physics.nufft._plan import Plan, make_plan
from jaxrecon.physics.nufft._toeplitz import Toeplitz, toeplitz


@operator
class NUFFT(LinearOperator):
    """Images to samples of their Fourier transform at arbitrary points; built by `nufft`.

        y_j = (1/√ΠN) Σ_n x_n exp(−2πi Σ_d k_{jd} (n_d − N_d // 2)/N_d)

    to a relative accuracy of `eps`; the adjoint is exact for what the forward computes. It has
    period N in the points: a point outside ±N/2 is the one that many periods inside. A point that
    is not finite makes its sample NaN, and the whole image of the adjoint.

    Attributes:
        trajectory: points in cycles per field of view, `(..., axis)`, axes in the image's order.
        image_shape: of one image.
        eps: relative error promised.
        backend: "xla", "finufft" or "dft".
        oversampling: grid cells a pixel, about; of the xla back end, like the next two.
        width: of the kernel, in cells.
        grid_shape: of the oversampled grid.
        batch: leading axes that image and data share, such as coils; one pass serves all.
    """

    trajectory: Float[Array, "*sample axis"]
    image_shape: tuple[int, ...] = static()
    eps: float = static()
    backend: str = static()
    oversampling: float = static()
    width: int = static()
    grid_shape: tuple[int, ...] = static()
    batch: tuple[int, ...] = static(default=())

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*self.batch, *self.image_shape), self._dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*self.batch, *self.trajectory.shape[:-1]), self._dtype)

    @property
    def _dtype(self) -> Any:
        return jnp.result_type(self.trajectory.dtype, jnp.complex64)

    @property
    def plan(self) -> Plan:
        """The static part, as the transforms want it."""
        return Plan(*(getattr(self, name) for name in Plan._fields))

    @property
    def points(self) -> Float[Array, "point axis"]:
        """The trajectory's points one after the other."""
        return self.trajectory.reshape(-1, self.trajectory.shape[-1])

    def forward(self, x: Inexact[Array, "..."]) -> Complex[Array, "..."]:
        images = x.reshape(-1, *self.image_shape).astype(self._dtype)
        points = self.points
        values = jax.vmap(lambda image: _transform.apply(self.plan, points, image))(images)
        return values.reshape(self.range.shape)

    def adjoint(self, y: Inexact[Array, "..."]) -> Complex[Array, "..."]:
        points = self.points
        data = y.reshape(-1, points.shape[0]).astype(self._dtype)
        images = jax.vmap(lambda d: _transform.apply_adjoint(self.plan, points, d))(data)
        return images.reshape(self.domain.shape)

    @property
    def gram(self) -> Toeplitz:
        """AᴴA as a convolution; the kernel is computed here, so take it outside loops."""
        return self.weighted_gram(jnp.ones(self.trajectory.shape[:-1], self.trajectory.dtype))

    def weighted_gram(self, weights: Array) -> Toeplitz:
        """AᴴWA as a convolution, for real weights of the samples or of every coil's samples.

        Raises:
            ValueError: the weights are complex or do not fit.
        """
        samples = self.trajectory.shape[:-1]
        weights = jnp.asarray(weights)
        if jnp.iscomplexobj(weights):
            raise ValueError("`weights` is complex; expected real weights")
        shared = weights.ndim <= len(samples) or math.prod(weights.shape[: -len(samples)]) == 1
        shape = samples if shared else (*self.batch, *samples)
        try:
            flat = jnp.broadcast_to(weights.reshape(weights.shape[-len(shape) :]), shape)
        except ValueError:
            raise ValueError(
                f"`weights` has shape {weights.shape}; expected {samples} or {self.range.shape}"
            ) from None
        flat = flat.reshape(-1) if shared else flat.reshape(-1, math.prod(samples))
        return toeplitz(self.plan, self.points, flat, self.domain)

    def subset(self, i: Any, n: int) -> "NUFFT":
        """The entries i, i + n, i + 2n, ... of the trajectory's first axis: its shots.

        Raises:
            ValueError: n does not divide the number of shots.
        """
        n_shots = self.trajectory.shape[0]
        if n < 1 or n_shots % n:
            raise ValueError(f"`n` is {n}, which does not divide the trajectory's {n_shots} shots")
        shots = jnp.asarray(i) + n * jnp.arange(n_shots // n)
        return replace(self, trajectory=self.trajectory[shots])


def nufft(
    trajectory: ArrayLike,
    image_shape: Sequence[int],
    *,
    batch: Sequence[int] = (),
    eps: float = 1e-5,
    backend: str | None = None,
    oversampling: float | None = None,
) -> NUFFT:
    """A non-uniform Fourier transform from images to samples, centred and orthonormal.

    Args:
        trajectory: points `(..., axis)` in cycles per field of view, −N/2 to N/2, axes in the
            image's order: (ky, kx) or (kz, ky, kx). One, two or three axes. May be traced.
        image_shape: of the image, any sizes.
        batch: leading axes of image and data that go through together, such as the coils.
        eps: relative error, 1e-1 to 1e-6 in float32 and to 1e-13 in float64.
        backend: "xla" (any device), "finufft" (CPU, through jax-finufft) or "dft" (matrix
            products: exact, for TPU and small images). By default finufft on a CPU where it is
            installed, dft on TPU, else xla; name one for runs that must be reproducible elsewhere.
        oversampling: of the xla back end's grid, 1.25 or 2; the cheaper one by default.

    Returns:
        The operator. Its trajectory has true derivatives, of any order.

    Raises:
        ValueError: an argument out of range or of the wrong shape.

    Example:
        >>> import jax.numpy as jnp
        >>> spokes = jnp.linspace(-8, 7, 16)[:, None] * jnp.array([0.6, 0.8])
        >>> A = nufft(spokes, (16, 16))
        >>> A(jnp.ones((16, 16), complex)).shape
        (16,)
    """
    shape = _sizes("image_shape", image_shape)
    points = jnp.asarray(trajectory)
    if jnp.iscomplexobj(points):
        raise ValueError("`trajectory` is complex; expected real coordinates, one for each axis")
    if not jnp.issubdtype(points.dtype, jnp.floating):
        points = points.astype(float)
    points = points.astype(jnp.promote_types(points.dtype, jnp.float32))
    if not 1 <= len(shape) <= 3:
        raise ValueError(f"`image_shape` is {shape}; expected one, two or three axes")
    if points.ndim < 2 or points.shape[-1] != len(shape):
        raise ValueError(
            f"`trajectory` has shape {points.shape}; expected (..., {len(shape)}), a coordinate "
            f"for each axis of an image {shape}"
        )
    n_points = math.prod(points.shape[:-1])
    if not n_points:
        raise ValueError(f"`trajectory` has shape {points.shape}: it holds no points")
    if not isinstance(points, jax.core.Tracer) and not np.isfinite(np.asarray(points)).all():
        bad = int((~np.isfinite(np.asarray(points))).any(-1).sum())
        raise ValueError(f"`trajectory` holds {bad} points that are not finite: remove them")
    plan = make_plan(shape, n_points, eps, points.dtype, backend, oversampling)
    return NUFFT(points, **plan._asdict(), batch=_sizes("batch", batch))


def _sizes(name: str, value: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(value)
    if any(int(n) != n or n < 1 for n in sizes):
        raise ValueError(f"`{name}` is {sizes}; expected positive integers")
    return tuple(int(n) for n in sizes)
