"""The spreading kernel: width, polynomial pieces and Fourier transform, in float64 on the host.

The kernel is the prolate spheroidal wave function of order zero, which has the least energy outside
a band of all functions of one support. In cells of the oversampled grid, for a width of w cells,

    φ(t) = ψ₀(2t/w; c),  |t| ≤ w/2,  c = π w (1 − 1/(2σ))
    (1)

with σ the oversampling. A point touches w cells an axis. Where it stands between two cells is one
number s in [−1, 1), and the weight of tap a is a polynomial p_a(s), so that evaluation costs a few
multiplications and no special function. Widths follow the law that FINUFFT publishes for this
kernel; the tests check the errors that come out.

Sources: Xiao, Rokhlin, Yarvin, "Prolate spheroidal wavefunctions, quadrature and interpolation",
Inverse Problems 17 (2001), for ψ₀ in Legendre polynomials; Barnett, Magland, af Klinteberg, "A
parallel nonuniform fast Fourier transform library based on an exponential of semicircle kernel",
SIAM J. Sci. Comput. 41 (2019), for piecewise polynomials.
"""

import functools
import math

import numpy as np
from numpy.polynomial import chebyshev, legendre

MAX_WIDTH = 16
# Pieces are fitted to this fraction of the promised error: deapodisation amplifies theirs.
FIT = 0.02


def width(eps: float, sigma: float, n_dims: int) -> int:
    """Cells an axis that a relative error of `eps` takes at oversampling `sigma`."""
    reach = math.log(0.18 * 1.4 ** (n_dims - 1) / eps) / (math.pi * math.sqrt(1 - 1 / sigma))
    return max(2, math.ceil(reach + 1))


@functools.lru_cache(maxsize=64)
def pieces(width: int, sigma: float, eps: float) -> np.ndarray:
    """Coefficients (power, tap) of the polynomials p_a(s), lowest power first."""
    starts = -1 + 2 * np.arange(width) / width
    exact = _samples(width, sigma, starts, np.linspace(-1, 1, 65))
    for degree in range(3, 30):
        nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        fit = chebyshev.chebfit(nodes, _samples(width, sigma, starts, nodes), degree)
        error = np.max(np.abs(chebyshev.chebval(np.linspace(-1, 1, 65), fit).T - exact))
        if error < max(FIT * eps, 1e-15):
            break
    return np.stack([chebyshev.cheb2poly(piece) for piece in fit.T], axis=1)


@functools.lru_cache(maxsize=64)
def transform(width: int, sigma: float, n_image: int, n_grid: int) -> np.ndarray:
    """∫ φ(t) cos(2π n t / n_grid) dt for the image's indices n = −(N // 2), ..., by quadrature."""
    nodes, weights = legendre.leggauss(8 * width + 32)
    values = _prolate(_bandwidth(width, sigma), nodes) * weights * (width / 2)
    frequency = (np.arange(n_image) - n_image // 2) / n_grid
    return np.cos(np.pi * width * np.outer(frequency, nodes)) @ values


def _samples(width: int, sigma: float, starts: np.ndarray, s: np.ndarray) -> np.ndarray:
    """φ at the places s of every piece, (place, tap)."""
    return _prolate(_bandwidth(width, sigma), starts + (s[:, None] + 1) / width)


def _bandwidth(width: int, sigma: float) -> float:
    return math.pi * width * (1 - 1 / (2 * sigma))


def _prolate(c: float, x: np.ndarray) -> np.ndarray:
    """ψ₀(x; c), scaled to 1 at x = 0, for |x| ≤ 1."""
    normal = _legendre_coefficients(c)
    series = np.zeros(2 * len(normal))
    series[::2] = normal * np.sqrt(2 * np.arange(0, 2 * len(normal), 2) + 1)
    return legendre.legval(np.clip(x, -1, 1), series) / legendre.legval(0.0, series)


@functools.lru_cache(maxsize=64)
def _legendre_coefficients(c: float) -> np.ndarray:
    """ψ₀ in normalised even Legendre polynomials: an eigenvector of a tridiagonal matrix."""
    k = np.arange(0.0, 2 * c + 60, 2)
    diagonal = k * (k + 1) + c**2 * (2 * k * (k + 1) - 1) / ((2 * k + 3) * (2 * k - 1))
    beside = c**2 * (k + 1) * (k + 2) / ((2 * k + 3) * np.sqrt((2 * k + 1) * (2 * k + 5)))
    matrix = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    return np.linalg.eigh(matrix)[1][:, 0]
