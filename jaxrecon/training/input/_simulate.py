"""Measurements drawn on the device, anew at every visit of an image.

The batches hold objects alone; ``measure(key, x) -> (A, y)``, a pytree callable, makes a scan of
each inside the loss, with the key of that example. Training so never sees the same noise twice, no
measurement is stored, and a restart or another number of devices meets the same ones. Where the
object is not the truth to be compared with, being on a finer grid or drawn from the key, `measure`
returns that as a third.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxrecon.core import LinearOperator, pytree, static
from jaxrecon.physics import complex_gaussian_noise, gaussian_noise, mri, poisson_counts
from jaxrecon.training._step import Loss, callable_pytree


@runtime_checkable
class Measure(Protocol):
    """A pytree callable that scans an object."""

    def __call__(self, key: Key[Array, ""], x: Any) -> tuple[Any, ...]:
        """The forward model, whose arrays may depend on the key, the measurement, and the truth.

        The truth may be left out: it is the object then.
        """
        ...


@pytree
class Gaussian:
    """y = A x + n with the same A for all; n is Gaussian of standard deviation `sigma`.

    Attributes:
        A: forward model; complex data get `sigma` in the real and in the imaginary part.
        sigma: in the units of the data, or of their mean magnitude if `relative`.
        relative: whether `sigma` is a fraction of the mean of |A x|.
    """

    A: LinearOperator
    sigma: Any
    relative: bool = static(default=False)

    def __call__(self, key: Key[Array, ""], x: Array) -> tuple[LinearOperator, Array]:
        """The operator and noisy data."""
        y = self.A(x)
        sigma = self.sigma * jnp.mean(jnp.abs(y)) if self.relative else self.sigma
        add = complex_gaussian_noise if jnp.iscomplexobj(y) else gaussian_noise
        return self.A, add(key, y, sigma)


@pytree
class Photons:
    """Line integrals −log(max(N, ½)/I₀) of photon counts N, with the same A for all.

    Attributes:
        A: projector, to dimensionless line integrals.
        intensity: photons I₀ of the open beam in each bin.
        electronic: standard deviation of the read-out, in photons.
    """

    A: LinearOperator
    intensity: Any
    electronic: Any = 0.0

    def __call__(self, key: Key[Array, ""], x: Array) -> tuple[LinearOperator, Array]:
        """The projector and noisy line integrals."""
        counts = poisson_counts(key, self.A(x), self.intensity, electronic=self.electronic)
        return self.A, -jnp.log(jnp.maximum(counts, 0.5) / self.intensity)


@pytree
class _RandomMasks:
    maps: Array
    draw: Any
    sigma: Any

    def __call__(self, key: Key[Array, ""], x: Array) -> tuple[LinearOperator, Array]:
        """The SENSE operator of a drawn mask, and noisy k-space, zero where not sampled."""
        key_mask, key_noise = jax.random.split(key)
        mask = self.draw(key_mask)
        A = mri.sense(self.maps, mask)
        return A, jnp.where(mask, complex_gaussian_noise(key_noise, A(x), self.sigma), 0)


def random_masks(maps: Array, draw: Callable[[Any], Array], sigma: Any) -> Measure:
    """Multi-coil Cartesian k-space with a mask of its own for each example.

    Args:
        maps: coil maps ``(coil, y, x)``.
        draw: ``draw(key) -> mask``, such as ``lambda key: mri.random_mask(key, (320, 320), 4)``.
        sigma: standard deviation of the noise in the real and in the imaginary part.
    """
    return _RandomMasks(maps, callable_pytree(draw), sigma)


@pytree
class _Simulated:
    loss: Any
    measure: Any
    name: str = static()

    def __call__(self, net: Any, batch: dict[str, Any], key: Key[Array, ""]) -> tuple[Array, dict]:
        key_scan, key_loss = jax.random.split(key)
        x = batch[self.name]
        A, y, *truth = self.measure(key_scan, x)
        return self.loss(net, {**batch, "x": truth[0] if truth else x, "A": A, "y": y}, key_loss)


def simulated(loss: Loss, measure: Measure, *, name: str = "x") -> Loss:
    """A loss on images alone, which measures each with a key of its own.

    Args:
        loss: ``loss(net, {"A": A, "y": y, "x": x, ...}, key)``, as those of `training.losses`.
        measure: ``measure(key, x) -> (A, y)`` or ``(A, y, truth)``: `Gaussian`, `Photons`,
            `random_masks`, or your own.
        name: under which the batch holds its objects.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.training.losses import l2, supervised
        >>> loss = simulated(supervised(l2), Gaussian(identity(jnp.zeros(4)), 0.1))
        >>> keep = lambda A, y: y
        >>> value, _ = loss(keep, {"x": jnp.ones(4)}, jax.random.key(0))
        >>> bool(0 < value < 0.1)
        True
    """
    return _Simulated(callable_pytree(loss), callable_pytree(measure), name)
