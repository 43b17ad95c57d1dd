"""The fixed transforms of BM3D as small matrices, made with NumPy while tracing.

A patch of n×n pixels is a row vector of n² numbers, a separable transform the Kronecker product of
a matrix with itself; along a group of similar patches stands an orthonormal Haar transform.
"""

import functools
import math

import numpy as np

# The analysis low-pass filter of the biorthogonal spline wavelet 1.5 (Cohen, Daubechies and
# Feauveau 1992) over √2/256; its high-pass filter is Haar's.
_BIOR15 = (3, -3, -22, 22, 128, 128, 22, -22, -3, 3)


@functools.lru_cache
def dct(n: int) -> np.ndarray:
    """The orthonormal DCT-II as an ``(n, n)`` matrix, one basis vector a row."""
    k, i = np.arange(n)[:, None], np.arange(n)
    rows = math.sqrt(2 / n) * np.cos(math.pi * (2 * i + 1) * k / (2 * n))
    return np.where(k == 0, math.sqrt(0.5), 1.0) * rows


@functools.lru_cache
def spline_wavelet(n: int) -> np.ndarray:
    """The full periodic bior1.5 decomposition of n = 2^m samples with rows of unit length.

    Not orthogonal: white noise of variance one keeps that variance in every coefficient, but
    becomes correlated. The way back is the matrix inverse.
    """
    taps = math.sqrt(2) / 256 * np.array(_BIOR15)
    details, smooth = [], np.eye(n)
    while len(smooth) > 1:
        high = (smooth[::2] - smooth[1::2]) / math.sqrt(2)
        windows = [np.roll(smooth, 4 - k, 0)[::2] for k in range(len(taps))]
        details.append(high)
        smooth = np.tensordot(taps, np.stack(windows), 1)
    rows = np.concatenate([smooth, *reversed(details)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@functools.lru_cache
def haar(n: int) -> np.ndarray:
    """The orthonormal Haar transform of n = 2^m samples, ``(n, n)``, the mean first."""
    details, smooth = [], np.eye(n)
    while len(smooth) > 1:
        details.append((smooth[::2] - smooth[1::2]) / math.sqrt(2))
        smooth = (smooth[::2] + smooth[1::2]) / math.sqrt(2)
    return np.concatenate([smooth, *reversed(details)])


@functools.lru_cache
def group_transforms(n: int) -> np.ndarray:
    """Haar transforms of the first 1, 2, 4, … n patches of a group, ``(log₂n + 1, n, n)``.

    What lies beyond the first 2^m patches is dropped.
    """
    sizes = [2**m for m in range(n.bit_length())]
    return np.stack([np.pad(haar(k), (0, n - k)) for k in sizes])


@functools.lru_cache
def window(n: int, beta: float) -> np.ndarray:
    """The Kaiser window of n samples; a patch is weighted with its outer product."""
    return np.kaiser(n, beta)


def separable(matrix: np.ndarray) -> np.ndarray:
    """The two-dimensional transform of flattened patches, ``(n², n²)``."""
    return np.kron(matrix, matrix)
