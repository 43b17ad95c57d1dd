"""Filtered backprojection of parallel and of flat-detector fan-beam scans, with absolute scale.

Parallel beam (Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, chapter 3):

    f(x) = Σ_v Δθ_v (h ∗ p_v)(s_v(x)),    Σ_v Δθ_v = π                                     (1)

with the band-limited ramp sampled in space, h(0) = 1/(4τ²), h(nτ) = −1/(πnτ)² for odd n and 0 for
even n, so that the mean is right. Fan beam, with the detector scaled to the rotation axis:

    f(x) = Σ_v Δβ_v (R/U)² (h ∗ w g_v)(u_v(x)),    g(s) = p(s) R/√(R² + s²)               (2)

U is the pixel's distance from the source along the detector's normal, R the rotation axis's, and w
shares every line between the views that measure it: ½ for a full circle, Parker's weights for a
short scan (Med. Phys. 9, 1982), 1 for less than that. Δθ and Δβ are half the gaps to the two
neighbours on the circle, so spacing need not be uniform; gaps wider than ten times the median are
missing data and count as the median.

Between bins values are interpolated linearly; beyond the detector they are zero. (2) is exact when
the detector's normal meets the rotation axis or nearly so.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Inexact

from jaxrecon.physics.ct import _joseph, _lines
from jaxrecon.physics.ct._fan import Fan
from jaxrecon.physics.ct._parallel import FourierParallel, Parallel

# Gain of a window at a frequency, as a fraction of the Nyquist frequency.
WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ramp": np.ones_like,
    "shepp-logan": lambda f: np.sinc(f / 2),
    "cosine": lambda f: np.cos(np.pi * f / 2),
    "hamming": lambda f: 0.54 + 0.46 * np.cos(np.pi * f),
    "hann": lambda f: 0.5 + 0.5 * np.cos(np.pi * f),
}


def fbp(
    operator: Parallel | FourierParallel | Fan,
    sinogram: Inexact[Array, "view bin"],
    *,
    window: str = "ramp",
    scan: str | None = None,
) -> Inexact[Array, "y x"]:
    """Filtered backprojection: the attenuation (1/mm) from line integrals.

    Args:
        operator: the scan, from `parallel_beam`, `fan_beam` or their kin.
        sinogram: line integrals, real or complex.
        window: "ramp", "shepp-logan", "cosine", "hamming" or "hann".
        scan: for fan beams "full", "short" or "limited" (see the module's text); found from the
            views when their positions are not traced.

    Returns:
        The image on the operator's grid; nothing is clipped.

    Raises:
        ValueError: an unknown window or scan, a sinogram of another shape, or `scan` missing where
            the views' positions are traced.

    Example:
        >>> from jaxrecon.physics import ct
        >>> A = ct.parallel_beam(jnp.linspace(0, jnp.pi, 60, endpoint=False), (32, 32), 48)
        >>> image = fbp(A, A(jnp.zeros((32, 32)).at[12:20, 12:20].set(0.5)))
        >>> abs(float(image[14:18, 14:18].mean()) / 0.5 - 1) < 0.02
        True
    """
    if window not in WINDOWS:
        raise ValueError(f"`window` is {window!r}, expected one of {', '.join(WINDOWS)}")
    if jnp.shape(sinogram) != operator.range.shape:
        raise ValueError(
            f"`sinogram` has shape {jnp.shape(sinogram)}, expected {operator.range.shape}"
        )
    if isinstance(operator, FourierParallel):
        sizes = operator.image_shape, operator.n_bins, operator.pixel
        operator = Parallel(*operator.views, *sizes, taps=2)
    if isinstance(operator, Parallel):
        run = functools.partial(_parallel, operator, window)
    else:
        run = functools.partial(_fan, operator, window, _scan_kind(operator, scan))
    if jnp.iscomplexobj(sinogram):
        return jax.lax.complex(run(sinogram.real), run(sinogram.imag))
    return run(sinogram)


def filter_views(
    sinogram: Float[Array, "view bin"], window: str = "ramp"
) -> Float[Array, "view bin"]:
    """Each view convolved with the windowed ramp for bins of unit pitch."""
    n = sinogram.shape[1]
    size = 1 << (2 * n - 1).bit_length()
    gain = jnp.asarray(_ramp(size, window), sinogram.dtype)
    return jnp.fft.irfft(jnp.fft.rfft(sinogram, size) * gain, size)[:, :n]


def _ramp(size: int, window: str) -> np.ndarray:
    n = np.fft.fftfreq(size, 1 / size)
    odd = n % 2 == 1
    kernel = np.where(odd, -1 / (np.pi * np.where(odd, n, 1)) ** 2, 0)
    kernel[0] = 1 / 4
    return np.fft.rfft(kernel).real * WINDOWS[window](np.fft.rfftfreq(size) * 2)


def half_gaps(angles: Float[Array, " view"], period: float) -> Float[Array, " view"]:
    """Half the sum of an angle's gaps to its neighbours on a circle, missing data left out."""
    turned = jnp.mod(angles, period)
    order = jnp.argsort(turned)
    ascending = turned[order]
    gap = jnp.diff(ascending, append=ascending[:1] + period)
    # Coinciding angles have no gap: the median is that of the others.
    usual = jnp.nanmedian(jnp.where(gap > 1e-3 * jnp.max(gap), gap, jnp.nan))
    gap = jnp.where(gap > 10 * usual, usual, gap)
    return jnp.zeros_like(gap).at[order].set((gap + jnp.roll(gap, 1)) / 2)


def _parallel(
    scan: Parallel, window: str, sinogram: Float[Array, "view bin"]
) -> Float[Array, "y x"]:
    weight = half_gaps(scan.angles, np.pi) / scan.bin_pitch
    filtered = filter_views(sinogram, window) * weight[:, None]
    return _joseph.collect(scan.spec._replace(taps=2), scan.lines, filtered, _linear)


def _linear(spec: _joseph.Spec, j: int, view: _joseph.View) -> Array:
    return view.fraction if j else 1 - view.fraction


def _linear_by_distance(spec: _joseph.Spec, j: int, view: _joseph.View) -> Array:
    """Linear interpolation over the square of U in pixels: |ℓ¹·p| is U times |axis|."""
    x, y, _ = view.second
    return _linear(spec, j, view) * ((x * x + y * y) / view.along**2)


def _fan(
    scan: Fan, window: str, kind: str, sinogram: Float[Array, "view bin"]
) -> Float[Array, "y x"]:
    pitch = jnp.linalg.norm(scan.axis, axis=-1)
    along = scan.axis / pitch[:, None]
    normal = _detector_normal(scan, along)
    to_detector = jnp.sum((scan.detector - scan.source) * normal, -1)
    to_origin = -jnp.sum(scan.source * normal, -1)
    # Position of each bin from the foot of the source on the detector.
    foot = jnp.sum((scan.detector - scan.source) * along, -1)
    s = foot[:, None] + pitch[:, None] * _lines.bin_numbers(scan.n_bins, pitch.dtype)
    obliqueness = s / to_detector[:, None]

    directions = jnp.arctan2(along[:, 1], along[:, 0])
    turn = jnp.sign(along[:, 0] * normal[:, 1] - along[:, 1] * normal[:, 0])
    share = _redundancy(kind, directions, turn[:, None] * jnp.arctan(obliqueness))
    prepared = sinogram * share / jnp.sqrt(1 + obliqueness**2)

    radius = to_origin / scan.pixel
    pitch_at_origin = pitch * to_origin / to_detector
    weight = half_gaps(directions, 2 * np.pi) * radius**2 / pitch_at_origin
    filtered = filter_views(prepared, window) * weight[:, None]
    return _joseph.collect(scan.spec._replace(taps=2), scan.lines, filtered, _linear_by_distance)


def _detector_normal(scan: Fan, along: Float[Array, "view 2"]) -> Float[Array, "view 2"]:
    """Unit normals of the detector, away from the source."""
    normal = jnp.stack([-along[:, 1], along[:, 0]], -1)
    away = jnp.sum((scan.detector - scan.source) * normal, -1, keepdims=True)
    return normal * jnp.sign(away)


def _redundancy(
    kind: str, directions: Float[Array, " view"], gamma: Float[Array, "view bin"]
) -> Float[Array, "view bin"]:
    """Share of a ray in its line: with that of the opposite ray it makes one.

    The ray (β, γ) is met again at (β + π − 2γ, −γ).
    """
    if kind != "short":
        return jnp.full_like(gamma, 0.5 if kind == "full" else 1.0)
    start, span = _arc(directions)
    beta = jnp.mod(directions - start, 2 * np.pi)[:, None]
    extra = (span - np.pi) / 2
    rise = beta / jnp.maximum(extra + gamma, 1e-6)
    fall = (np.pi + 2 * extra - beta) / jnp.maximum(extra - gamma, 1e-6)
    ramp = jnp.clip(jnp.minimum(rise, fall) / 2, 0, 1)
    return jnp.sin(np.pi / 2 * ramp) ** 2


def _arc(directions: Float[Array, " view"]) -> tuple[Array, Array]:
    """Where the views start on the circle, after the widest gap, and how far they reach."""
    ascending = jnp.sort(jnp.mod(directions, 2 * np.pi))
    gap = jnp.diff(ascending, append=ascending[:1] + 2 * np.pi)
    widest = jnp.argmax(gap)
    return jnp.roll(ascending, -1)[widest], 2 * np.pi - gap[widest]


def _scan_kind(scan: Fan, kind: str | None) -> str:
    if kind in ("full", "short", "limited"):
        return kind
    if kind is not None:
        raise ValueError(f"`scan` is {kind!r}, expected 'full', 'short' or 'limited'")
    if any(isinstance(a, Tracer) for a in (scan.source, scan.detector, scan.axis)):
        raise ValueError(
            "`scan` is missing, and the views are traced: pass 'full', 'short' or 'limited'"
        )
    with jax.ensure_compile_time_eval():
        axis = np.asarray(scan.axis, float)
        gap = 2 * np.pi - float(_arc(jnp.arctan2(axis[:, 1], axis[:, 0]))[1])
        s = np.abs(np.asarray(scan.detector - scan.source, float) @ np.eye(2))
        distance = float(np.min(np.hypot(*s.T)))
        half = scan.n_bins / 2 * float(np.max(np.hypot(*axis.T)))
    if gap < 8 * np.pi / len(axis):
        return "full"
    return "short" if 2 * np.pi - gap >= np.pi + 1.8 * np.arctan(half / distance) else "limited"
