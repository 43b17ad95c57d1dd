"""Fidelities that know only the magnitude |x| of a complex (or real) x: phase retrieval and
magnitude MRI. None is convex; all keep the phase of x: the proximal map is a problem in |x|.

    amplitude   ½ Σ w (|x| − y)²                                                          (1)
    intensity   ½ Σ w (|x|² − y)²                                                         (2)
    Rician      Σ (|x| − y)² / 2σ² − log Ĩ₀(y|x|/σ²),  Ĩ₀(z) = e^{−z} I₀(z)               (3)

(3) is −log p(y | |x|) less its terms in y and σ alone. At x = 0, where the phase is any, gradients
are zero and proximal maps take the phase of 1.

Source: Fienup, Appl. Opt. 21 (1982); Candès, Li and Soltanolkotabi, IEEE Trans. Inf. Theory 61
(2015); Gudbjartsson and Patz, Magn. Reson. Med. 34 (1995).
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jax.scipy.special import i0e, i1e
from jaxtyping import Array

from jaxrecon.core import LinearOperator, diagonal, pytree
from jaxrecon.functionals._functional import Functional, subsets, weigh
from jaxrecon.functionals._norms import magnitude, squared_magnitude, with_magnitude
from jaxrecon.functionals.fidelities._newton import newton, with_derivatives


@pytree
class Amplitude(Functional):
    """½ Σ w (|x| − y)², equation (1): measured moduli y ≥ 0; not convex.

    It has a kink at x = 0 with y > 0, and curvature of at most w everywhere else. The proximal map
    is exact and global; with an infinite step it is the projection of Gerchberg and Saxton.

    Example:
        >>> f = Amplitude(jnp.array([2.0]))
        >>> f.prox(jnp.array([1j]), 1.0).tolist()
        [1.5j]
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    convex: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    magnitudes: Array
    weights: Any = None

    def __call__(self, x: Array) -> Array:
        return 0.5 * jnp.sum(weigh(self.weights, (magnitude(x) - self.magnitudes) ** 2))

    def grad(self, x: Array) -> Array:
        length = magnitude(x)
        nonzero = length > 0
        shrink = jnp.where(nonzero, self.magnitudes, 0) / jnp.where(nonzero, length, 1)
        return weigh(self.weights, x * (1 - shrink))

    def prox(self, x: Array, step: Any) -> Array:
        length, pull = magnitude(x), weigh(self.weights, step)
        return with_magnitude((length + pull * self.magnitudes) / (1 + pull), x, length)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return A if self.weights is None else diagonal(jnp.sqrt(self.weights), A.range) @ A

    def subset(self, i: Any, n: int) -> "Amplitude":
        return Amplitude(*subsets(i, n, self.magnitudes, self.weights))


@pytree
class Intensity(Functional):
    """½ Σ w (|x|² − y)², equation (2): measured intensities y ≥ 0; not convex.

    Wirtinger flow's loss: of degree four, smooth, its curvature without a bound. The proximal map
    is global, the one positive root of a cubic.

    Example:
        >>> f = Intensity(jnp.array([4.0]))
        >>> float(f(jnp.array([2j]))), f.grad(jnp.array([1.0])).tolist()
        (0.0, [-6.0])
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    convex: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    intensities: Array
    weights: Any = None

    def __call__(self, x: Array) -> Array:
        return 0.5 * jnp.sum(weigh(self.weights, (squared_magnitude(x) - self.intensities) ** 2))

    def grad(self, x: Array) -> Array:
        return weigh(self.weights, 2 * (squared_magnitude(x) - self.intensities)) * x

    def prox(self, x: Array, step: Any) -> Array:
        length = magnitude(x)
        c = 2 * weigh(self.weights, step)
        parameters = (length, c, self.intensities)
        # The cubic is convex on r > 0, and not negative at either of these bounds of its root.
        top = jnp.sqrt(self.intensities)
        tiny = jnp.finfo(length.dtype).tiny
        far = top + jnp.cbrt(length / jnp.maximum(c, tiny))
        bound = jnp.minimum(jnp.maximum(length, top), far)
        root = newton(_cubic, parameters, bound, 12)
        return with_magnitude(with_derivatives(_cubic, parameters, root), x, length)

    def subset(self, i: Any, n: int) -> "Intensity":
        return Intensity(*subsets(i, n, self.intensities, self.weights))


@pytree
class Rician(Functional):
    """The negative log-likelihood of a magnitude image of one coil, equation (3); not convex.

    Its curvature is at most 1/σ². The proximal map is global, by Newton's method.

    Args:
        magnitudes: y ≥ 0, the noisy magnitudes.
        sigma: standard deviation of the real and of the imaginary part of the noise.

    Example:
        >>> f = Rician(jnp.array([10.0]), sigma=1.0)
        >>> estimate = f.prox(jnp.array([10.0]), 1e3)  # below 10: magnitudes are biased
        >>> bool(9.9 < estimate[0] < 10)
        True
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    convex: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    magnitudes: Array
    sigma: Any = 1.0

    def __call__(self, x: Array) -> Array:
        length, variance = magnitude(x), self.sigma**2
        quadratic = (length - self.magnitudes) ** 2 / (2 * variance)
        return jnp.sum(quadratic - jnp.log(i0e(self.magnitudes * length / variance)))

    def grad(self, x: Array) -> Array:
        variance = self.sigma**2
        pull = _bessel_ratio_over(self.magnitudes * magnitude(x) / variance)
        return x * ((1 - pull * self.magnitudes**2 / variance) / variance)

    def prox(self, x: Array, step: Any) -> Array:
        length, pull = magnitude(x), step / self.sigma**2
        parameters = (length, pull, self.magnitudes, self.sigma**2)
        # The Bessel ratio is below 1 and concave: from this bound Newton descends to the root.
        bound = (length + pull * self.magnitudes) / (1 + pull)
        root = newton(_rician, parameters, bound, 12)
        return with_magnitude(with_derivatives(_rician, parameters, root), x, length)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return diagonal(jnp.asarray(1 / self.sigma), A.range) @ A

    def subset(self, i: Any, n: int) -> "Rician":
        return Rician(*subsets(i, n, self.magnitudes, self.sigma))


def _cubic(r: Array, parameters: Any) -> tuple[Array, Array]:
    """Value and slope of r − |x| + c r (r² − y)."""
    length, c, intensity = parameters
    return r - length + c * r * (r**2 - intensity), 1 + c * (3 * r**2 - intensity)


def _rician(r: Array, parameters: Any) -> tuple[Array, Array]:
    """Value and slope of r − |x| + c (r − y ρ(y r/σ²)), ρ = I₁/I₀ and ρ' = 1 − ρ/z − ρ²."""
    length, c, y, variance = parameters
    z = y * r / variance
    over = _bessel_ratio_over(z)
    ratio = over * z
    slope = 1 + c * (1 - y**2 / variance * (1 - over - ratio**2))
    return r - length + c * (r - y * ratio), slope


def _bessel_ratio_over(z: Array) -> Array:
    """I₁(z) / (z I₀(z)), 1/2 at zero."""
    positive = z > 0
    z = jnp.where(positive, z, 1)
    return jnp.where(positive, i1e(z) / (z * i0e(z)), 0.5)
