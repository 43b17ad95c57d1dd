"""What makes a trajectory good: the error of the image that CG-SENSE makes of its samples.

    y = A x + n,   x̂ = (AᴴA + λ)⁻¹ Aᴴ y,   error = mean ‖x̂ − x‖²/‖x‖²                        (1)

over images, with the trajectory inside A. AᴴA is a convolution, and the derivative is that of the
solution (implicit), so that a design step costs two solves whatever the iterations, in the memory
of one.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Key

from jaxrecon.core import identity, pytree, static
from jaxrecon.design.trajectories._trajectory import Trajectory
from jaxrecon.physics import complex_gaussian_noise, mri
from jaxrecon.solvers import cg

__all__ = ["SenseError", "cg_sense"]


@pytree
class SenseError:
    """A criterion for `design.optimise`: the squared error (1), relative to the image.

    Attributes:
        maps: coil maps.
        images: to be imaged, any scale.
        sigma: standard deviation of noise in real and imaginary part of the data, in the images'
            unit.
        weight: λ.
        batch: images drawn for every step; None for all, without randomness in their choice.
        n_iter: conjugate gradients, at most, in the solve and in that of its gradient.
        tol: of both, relative to the right-hand side.
        eps: of the transforms.
        backend: of the transforms, see `nufft`.

    Example:
        >>> from jaxrecon.physics.mri import trajectories
        >>> from jaxrecon.design import trajectories as designed
        >>> system = trajectories.scanner(fov=240, gmax=40, smax=180, dwell=1e-5)
        >>> spokes = designed.radial(8, 16, system, designed.readout(system, 5e-4))
        >>> image = jnp.ones((1, 16, 16), jnp.complex64)
        >>> criterion = SenseError(jnp.ones((1, 16, 16), jnp.complex64), image, 0.0, 0.01)
        >>> bool(criterion(spokes, jax.random.key(0), 0) < 0.1)
        True
    """

    maps: Complex[Array, "coil *image"]
    images: Complex[Array, "n *image"]
    sigma: Any
    weight: Any
    batch: int | None = static(default=None)
    n_iter: int = static(default=60)
    tol: float = static(default=1e-3)
    eps: float = static(default=1e-4)
    backend: str | None = static(default=None)

    def __call__(self, trajectory: Trajectory, key: Key[Array, ""], step: Any) -> Array:
        del step
        which, noise = jax.random.split(key)
        images = self.images
        if self.batch is not None:
            images = jax.random.choice(which, images, (self.batch,), replace=False)
        A = self.operator(trajectory.samples)
        found = self.reconstruct(A, self.measure(A, images, noise))
        rows = lambda x: jnp.sum(jnp.abs(x) ** 2, axis=tuple(range(1, x.ndim)))  # noqa: E731
        return jnp.mean(rows(found - images) / rows(images))

    def operator(self, k: Float[Array, "shot sample axis"]) -> Any:
        """A, for samples in cycles per field of view."""
        return mri.noncartesian_sense(self.maps, k, eps=self.eps, backend=self.backend)

    def measure(
        self, A: Any, images: Complex[Array, "n *image"], key: Key[Array, ""]
    ) -> Complex[Array, "n coil shot sample"]:
        """Noisy data of images."""
        return complex_gaussian_noise(key, jax.vmap(A)(images), self.sigma)

    def reconstruct(
        self, A: Any, data: Complex[Array, "n coil shot sample"]
    ) -> Complex[Array, "n *image"]:
        """CG-SENSE of every image's data, with one convolution kernel for all."""
        options = {"n_iter": self.n_iter, "tol": self.tol}
        return cg_sense(A, data, self.weight, **options)


def cg_sense(
    A: Any,
    data: Complex[Array, "n coil *sample"],
    weight: Any,
    *,
    n_iter: int = 60,
    tol: float = 1e-3,
) -> Complex[Array, "n *image"]:
    """The solutions of (AᴴA + λ) x = Aᴴ y, differentiable in A, y and λ.

    Args:
        A: a `mri.noncartesian_sense`.
        data: of several images.
        weight: λ, on the scale of AᴴA.
        n_iter: conjugate gradients, at most.
        tol: relative residual to stop at.

    Returns:
        The images. Where the gradient's solve does not reach `tol`, the gradient is NaN.
    """
    normal = A.gram + weight * identity(A.domain)
    solve = lambda rhs: cg(normal, rhs, n_iter=n_iter, tol=tol).value  # noqa: E731
    return jax.vmap(lambda y: solve(A.H(y)))(data)
