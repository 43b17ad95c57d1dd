"""Density compensation by iteration, for any trajectory.

Pipe and Menon's iteration is w ← w / (Φ ∗ w) with a kernel Φ over k-space. Here, with D the pixels
in the ellipse that touches the image's sides, the field of view of spokes and spirals,

    Φ(k_j − k_l) = |(A D Aᴴ)_{jl}|² / (A D Aᴴ)_{jj},                                         (1)

in the plane the square of a jinc. Its fixed point Φ ∗ w = 1 is the normal equation of
min_w ‖D(AᴴWA − 1)D‖ in Frobenius' norm: no other weights bring gridding closer to the inverse over
the field of view. Φ is convolved with by a pair of transforms, since its own transform is the
ellipse's autocorrelation, on twice the image. Φ ≥ 0 keeps weights positive, and Φ(0) = |D|/ΠN keeps
them below ΠN/|D|, about the area of a Nyquist cell: where samples are too far apart weights are
smaller than areas, as in any least squares. Started at w = 1, the first iteration is Jackson's
correction. SigPy convolves with a gridding kernel instead, of about this width. AAᴴ itself would be
a sinc, whose negative lobes make the iteration unstable.

Sources: Pipe and Menon, "Sampling density compensation in MRI: rationale and an iterative numerical
solution", MRM 41 (1999); Johnson and Pipe, "Convolution kernel design and efficient algorithm for
sampling density correction", MRM 61 (2009), on kernels of twice the field of view; Sedarat and
Nishimura, "On the optimality of the gridding reconstruction algorithm", IEEE Trans. Med. Imaging 19
(2000); Jackson et al., "Selection of a convolution function for Fourier inversion using gridding",
IEEE Trans. Med. Imaging 10 (1991).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from jaxrecon.core import LinearOperator
from jaxrecon.physics.nufft._operator import NUFFT, nufft

# Relative error of the transforms that weights are computed with.
EPS = 1e-3


def pipe_density(A: LinearOperator, *, n_iter: int = 10) -> Float[Array, "*sample"]:
    """Weights by Pipe and Menon's iteration with the kernel (1); see the module's text.

    Takes a pair of single-coil transforms of twice the image's size for each iteration, to an
    accuracy that weights need (1e-3). Pure JAX: may be jitted, and has derivatives in A's
    trajectory.

    Args:
        A: the `NUFFT`; its batch axes do not matter.
        n_iter: iterations. The default is good to a few per cent in the image; weights at the very
            centre of k-space, finer than the kernel, converge last and matter least.

    Returns:
        Areas in cycles per field of view, shaped as A's samples.

    Raises:
        ValueError: an operator that is not a NUFFT, or no iterations.

    Example:
        >>> from jaxrecon.physics.nufft import nufft
        >>> grid = jnp.stack(jnp.meshgrid(jnp.arange(-4.0, 4), jnp.arange(-3.0, 3)), axis=-1)
        >>> weights = pipe_density(nufft(grid, (8, 6)))
        >>> weights.shape, round(float(weights.sum()), 1)
        ((6, 8), 48.0)
    """
    if not isinstance(A, NUFFT):
        raise ValueError(
            f"`A` is a {type(A).__name__}; expected a NUFFT: pass nufft(trajectory, image_shape), "
            "without coil maps"
        )
    if n_iter < 1:
        raise ValueError(f"`n_iter` is {n_iter}; expected at least 1")
    double_shape = [2 * n for n in A.image_shape]
    double = nufft(2 * A.trajectory, double_shape, eps=EPS, backend=A.backend)
    return _iterate(double, n_iter)


# Compiled here, so that a second scan of the same sizes runs at once, also outside jit.
@functools.partial(jax.jit, static_argnames="n_iter")
def _iterate(double: NUFFT, n_iter: int) -> Float[Array, "*sample"]:
    window = _window(double.image_shape, double.domain.dtype)
    peak = jnp.mean(jnp.real(window))

    def refine(_, w):
        spread = jnp.real(double.forward(window * double.adjoint(w.astype(window.dtype))))
        # Φ ∗ w ≥ Φ(0) w because Φ ≥ 0, but for the transforms' error.
        return w / jnp.maximum(spread, peak * w)

    start = jnp.ones(double.trajectory.shape[:-1], double.trajectory.dtype)
    return lax.fori_loop(0, n_iter, refine, start)


def _window(double_shape: tuple[int, ...], dtype: Any) -> Complex[Array, "*double"]:
    """The transform of the kernel (1) on twice the image, times the scale of the transforms.

    The part that two equal intervals, discs or balls share, as a function of their distance.
    """
    axes = [(np.arange(n) - n // 2) / (n // 2) for n in double_shape]
    r = np.minimum(np.sqrt(sum(x**2 for x in np.ix_(*axes))), 1)
    match len(double_shape):
        case 1:
            shared = 1 - r
        case 2:
            shared = 2 / np.pi * (np.arccos(r) - r * np.sqrt(1 - r**2))
        case _:
            shared = 1 - 1.5 * r + 0.5 * r**3
    return jnp.asarray(2 ** len(double_shape) * shared, dtype)
