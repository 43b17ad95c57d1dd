"""Parallel-beam projections through the Fourier-slice theorem.

The object is band-limited to what the image's pixels can hold, the square |f_x|, |f_y| ≤
1/(2·pixel), and the image has values x_n at the pixels' centres r_n. The object's projection at
angle θ then has the spectrum, in cycles per mm along u = (cos θ, sin θ),

    P(f) = pixel² B(f cos θ) B(f sin θ) Σ_n x_n exp(−2πi f u·r_n),
    |f| ≤ 1/(2·pixel·max(|cos θ|, |sin θ|))
    (1)

and a bin at s measures, on a detector that is periodic with L,

    p(s) = (1/L) Σ_k P(k/L) D(k/L) exp(2πi k s/L)
    (2)

(1) is a type 2 non-uniform FFT at the points of radial spokes, (2) an FFT along the detector. Real
images need k ≥ 0 only. B says what a pixel is, and D what a bin is:

- pixel "average": its value is the object's average over its square; B = 1/sinc(f·pixel).
- pixel "point": its value is the object's at its centre; B = 1.
- pixel "square": the object is made of squares, cut off at the band; B = sinc(f·pixel).
- bin "average": it averages over its width, D = sinc(f·pitch); bin "point": D = 1.

How it is made sound:

- L = M·pitch is so long that the image's copies, L apart, lie beyond the detector.
- The last k counts by the part of its cell that lies inside the band. So p is continuous in the
  angle, with kinks as at 45°, and views along the axes, whose last k is on the band's edge, do not
  hang on rounding.
- Frequencies beyond 1/(2·pitch) alias in (2), as on a real detector: they fold onto others.
- The grid's centre is at index (N − 1)/2, the NUFFT's at N // 2: a phase in (1), as is the offset.
- Sizes are static, for the pitches and offsets known when the scan is built, with `SLACK` to spare.
  A view that leaves their range is NaN.

Source: Matej, Fessler and Kazantsev, "Iterative tomographic image reconstruction using
Fourier-based forward and back-projectors", IEEE Trans. Med. Imaging 23 (2004).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Inexact

from jaxrecon.core import LinearOperator, operator
from jaxrecon.physics.nufft import NUFFT, Plan, Toeplitz
from jaxrecon.physics.nufft._plan import smooth_size

PIXELS = ("average", "point", "square")
BINS = ("average", "point")
# By how much of itself a pitch, and of the detector's and the image's joint length an offset, may
# move after the scan was built.
SLACK = 1 / 32


class Spec(NamedTuple):
    """What decides the program."""

    plan: Plan
    pixel: float
    n_bins: int
    padded_bins: int
    n_frequencies: int
    pixel_model: str
    bin_model: str


class Views(NamedTuple):
    """Numbers of each view, in radians and mm."""

    angles: Float[Array, " view"]
    offset: Float[Array, " view"]
    bin_pitch: Float[Array, " view"]


def sizes(
    image_shape: tuple[int, int],
    n_bins: int,
    pixel: float,
    bin_pitch: Float[np.ndarray, " view"],
    offset: Float[np.ndarray, " view"] | None,
) -> tuple[int, int]:
    """Bins of the periodic detector and frequencies from zero on, M and K.

    Args:
        image_shape: rows and columns.
        n_bins: bins of the real detector.
        pixel: side of a pixel.
        bin_pitch: of every view.
        offset: of every view; `None` where unknown: any that lets the detector see the image.
    """
    touching = _touching(image_shape, n_bins, pixel, bin_pitch)
    away = touching if offset is None else np.minimum(np.abs(offset), touching)
    periods = (1 + SLACK) * (touching + away) / bin_pitch
    padded = smooth_size(max(n_bins, math.ceil(np.max(periods))))
    longest = (1 + SLACK) * padded * float(np.max(bin_pitch))
    return padded, math.ceil(longest * _corner(pixel) + 0.5)


@functools.partial(jax.jit, static_argnums=0)
def forward(spec: Spec, views: Views, image: Inexact[Array, "y x"]) -> Inexact[Array, "view bin"]:
    """Equation (2) for a real or complex image."""
    views, image = _promoted(views, image)
    transform, response = _transform(spec, views), _response(spec, views)
    return _each_part(lambda part: _to_bins(spec, transform.forward(part) * response), image)


@functools.partial(jax.jit, static_argnums=0)
def adjoint(
    spec: Spec, views: Views, sinogram: Inexact[Array, "view bin"]
) -> Inexact[Array, "y x"]:
    """The adjoint of `forward`."""
    views, sinogram = _promoted(views, sinogram)
    transform, response = _transform(spec, views), _response(spec, views).conj()

    def backproject(part):
        return jnp.real(transform.adjoint(_from_bins(spec, part) * response))

    return _each_part(backproject, sinogram)


@operator
class FourierGram(LinearOperator):
    """AᴴWA of `FourierParallel` but for what the detector's ends and its aliasing do to it.

    A convolution with a real kernel; built by `FourierParallel.approximate_gram`.
    """

    toeplitz: Toeplitz

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        struct = self.toeplitz.domain
        return jax.ShapeDtypeStruct(struct.shape, jnp.finfo(struct.dtype).dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return self.domain

    def forward(self, x: Inexact[Array, "y x"]) -> Inexact[Array, "y x"]:
        dtype = self.toeplitz.domain.dtype
        return _each_part(lambda part: self.toeplitz.forward(part.astype(dtype)).real, x)

    def adjoint(self, y: Inexact[Array, "y x"]) -> Inexact[Array, "y x"]:
        return self.forward(y)


@functools.partial(jax.jit, static_argnums=0)
def gram(spec: Spec, views: Views, weights: Float[Array, " view"]) -> FourierGram:
    """AᴴWA with a weight for each view, as if the detector had no ends and nothing aliased.

    Σ_i (Re Σ_k c_k exp(2πi k i/M))² over a whole period is M (c_0² + ½ Σ_{k>0} |c_k|²).
    """
    response = _response(spec, views)
    power = (response.real**2 + response.imag**2) * weights[:, None].astype(views.angles.dtype)
    power = (power * (spec.padded_bins / 2)).at[:, 0].multiply(2)
    return FourierGram(_transform(spec, views).weighted_gram(power))


def _transform(spec: Spec, views: Views) -> NUFFT:
    """From images to the spokes' points, k = 0 to K − 1."""
    n_y, n_x = spec.plan.image_shape
    step = spec.pixel / (spec.padded_bins * views.bin_pitch)
    steps = n_y * step * jnp.sin(views.angles), n_x * step * jnp.cos(views.angles)
    k = jnp.arange(spec.n_frequencies, dtype=step.dtype)
    return NUFFT(jnp.stack([s[:, None] * k for s in steps], -1), **spec.plan._asdict())


def _response(spec: Spec, views: Views) -> Complex[Array, "view frequency"]:
    """What the image's transform at a point counts on the detector: all factors and phases."""
    cosine, sine = jnp.cos(views.angles)[:, None], jnp.sin(views.angles)[:, None]
    period = spec.padded_bins * views.bin_pitch[:, None]
    k = jnp.arange(spec.n_frequencies, dtype=period.dtype)
    edge = period / (2 * spec.pixel * jnp.maximum(jnp.abs(cosine), jnp.abs(sine)))
    weight = jnp.clip(edge + 0.5 - k, 0, 1) * _scale(spec, views)[:, None]
    if spec.pixel_model != "point":
        cycles = k * (spec.pixel / period)
        footprint = _sinc(cycles * cosine) * _sinc(cycles * sine)
        weight = weight / footprint if spec.pixel_model == "average" else weight * footprint

    half_y, half_x = ((1 - n % 2) * spec.pixel / 2 for n in spec.plan.image_shape)
    shift = views.offset[:, None] - half_x * cosine - half_y * sine
    angle = 2 * jnp.pi * k * (shift / period)
    phase = jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
    return weight * phase * jnp.asarray(_detector(spec), phase.dtype)


def _sinc(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Σ_j (−1)^j (πx)^2j/(2j + 1)!, to rounding for |x| ≤ 3/4 and constant beyond: within the band.

    (`jnp.sinc` costs more, is zero at 1, and jax 0.12 refuses it under `shard_map`.)
    """
    square = jnp.minimum((jnp.pi * x) ** 2, (0.75 * math.pi) ** 2)
    total = jnp.zeros_like(x)
    for j in reversed(range(13)):
        total = total * square + (-1) ** j / math.factorial(2 * j + 1)
    return total


def _scale(spec: Spec, views: Views) -> Float[Array, " view"]:
    """A view's factor: zero where it cannot see the image, NaN where the sizes are too small."""
    period = spec.padded_bins * views.bin_pitch
    touching = _touching(spec.plan.image_shape, spec.n_bins, spec.pixel, views.bin_pitch)
    away = jnp.abs(views.offset)
    enough = (period >= touching + away) & (
        period * _corner(spec.pixel) + 0.5 <= spec.n_frequencies
    )
    scale = spec.pixel**2 * math.sqrt(math.prod(spec.plan.image_shape)) / period
    return jnp.where(away < touching, jnp.where(enough, scale, jnp.nan), 0)


def _detector(spec: Spec) -> Complex[np.ndarray, " frequency"]:
    """The part of the response that all views share."""
    turns = np.arange(spec.n_frequencies) / spec.padded_bins
    both_signs = np.where(turns > 0, 2, 1)
    average = np.sinc(turns) if spec.bin_model == "average" else 1
    return both_signs * average * np.exp(-1j * np.pi * turns * (spec.n_bins - 1))


def _to_bins(spec: Spec, spectrum: Complex[Array, "view frequency"]) -> Float[Array, "view bin"]:
    """Re Σ_k spectrum_k exp(2πi k i/M) for the bins i."""
    m, folds = spec.padded_bins, -(-spec.n_frequencies // spec.padded_bins)
    spectrum = jnp.pad(spectrum, [(0, 0), (0, folds * m - spec.n_frequencies)])
    periodic = jnp.fft.ifft(spectrum.reshape(-1, folds, m).sum(1))
    return m * jnp.real(periodic)[:, : spec.n_bins]


def _from_bins(spec: Spec, sinogram: Float[Array, "view bin"]) -> Complex[Array, "view frequency"]:
    """The adjoint of `_to_bins`."""
    m, folds = spec.padded_bins, -(-spec.n_frequencies // spec.padded_bins)
    return jnp.tile(jnp.fft.fft(sinogram, m), (1, folds))[:, : spec.n_frequencies]


def _touching(image_shape: tuple[int, ...], n_bins: int, pixel: float, bin_pitch: Any) -> Any:
    """How far the detector's centre is from the image's where they just see each other."""
    return (math.hypot(*image_shape) * pixel + n_bins * bin_pitch) / 2


def _corner(pixel: float) -> float:
    """The highest frequency of the square band, in cycles per mm."""
    return math.sqrt(0.5) / pixel


def _each_part(f: Callable[[Array], Array], x: Array) -> Array:
    """A real-linear map of the real and of the imaginary part, as a batch of two."""
    if not jnp.iscomplexobj(x):
        return f(x)
    return jax.lax.complex(*jax.vmap(f)(jnp.stack([x.real, x.imag])))


def _promoted(views: Views, values: Array) -> tuple[Views, Array]:
    """All in the widest precision, at least float32."""
    dtype = jnp.promote_types(views.angles.dtype, jnp.finfo(values.dtype).dtype)
    dtype = jnp.promote_types(dtype, jnp.float32)
    complex_ = jnp.iscomplexobj(values)
    values = values.astype(jnp.result_type(dtype, 1j) if complex_ else dtype)
    return Views(*(a.astype(dtype) for a in views)), values
