"""Scaling filters of compactly supported orthonormal wavelets, by spectral factorisation.

A filter h of 2n taps with n vanishing moments has

    |H(ω)|² = 2 cos²ⁿ(ω/2) P(sin²(ω/2)),   P(y) = Σ_{k<n} C(n−1+k, k) y^k                      (1)

(Daubechies, Comm. Pure Appl. Math. 41, 1988). Each root y of P gives a pair z, 1/z of roots of
z² − (2 − 4y) z + 1, of which either may be kept, conjugate ones together: those inside the unit
circle give the Daubechies filters (minimum phase), the choice whose phase is nearest to linear the
symlets (Daubechies, Ten Lectures on Wavelets, 1992, section 8.1.1).
"""

import functools
import itertools
import math

import numpy as np

_MOST = 20


@functools.lru_cache
def daubechies(n_moments: int) -> tuple[float, ...]:
    """The 2n scaling taps with n vanishing moments and minimum phase.

    Example:
        >>> [round(h, 4) for h in daubechies(2)]
        [0.483, 0.8365, 0.2241, -0.1294]
    """
    return _taps(n_moments, _inner_roots(n_moments))


@functools.lru_cache
def symlet(n_moments: int) -> tuple[float, ...]:
    """The 2n scaling taps with n vanishing moments that are nearest to symmetric, up to reversal.

    Example:
        >>> [abs(round(h, 4)) for h in symlet(4)][3:5]
        [0.2979, 0.8037]
    """
    groups = _conjugate_groups(_inner_roots(n_moments))
    phases = [(_bent_phase(g), _bent_phase(1 / g)) for g in groups]
    # Inverting every root only mirrors the filter: the first group may stay.
    choices = itertools.product((0, 1), repeat=max(len(groups) - 1, 0))
    bend = lambda c: np.sum(sum(p[i] for p, i in zip(phases, (0, *c))) ** 2)  # noqa: E731
    best = (0, *min(choices, key=bend))
    kept = [1 / g if invert else g for g, invert in zip(groups, best)]
    return _taps(n_moments, np.concatenate([*kept, np.zeros(0)]))


def taps(name: str) -> tuple[float, ...]:
    """The taps of "haar", "db1" … "db20" or "sym2" … "sym20", the number of vanishing moments.

    Raises:
        ValueError: unknown name.
    """
    families = {"db": (daubechies, 1), "sym": (symlet, 2)}
    family, digits = ("db", "1") if name == "haar" else (name.rstrip("0123456789"), "")
    digits = digits or name[len(family) :]
    make, least = families.get(family, (None, 0))
    if make is None or not digits.isdigit() or not least <= int(digits) <= _MOST:
        raise ValueError(
            f"`name` is {name!r}, expected 'haar', 'db1' to 'db20' or 'sym2' to 'sym20'"
        )
    return make(int(digits))


def mirror(taps: tuple[float, ...]) -> tuple[float, ...]:
    """The wavelet's taps g_k = (−1)^k h_{2n−1−k}."""
    return tuple((-1) ** k * h for k, h in enumerate(reversed(taps)))


def _inner_roots(n_moments: int) -> np.ndarray:
    """The roots z of (1) inside the unit circle."""
    y = _polished(np.roots(_polynomial(n_moments)), n_moments)
    half = 1 - 2 * y
    z = half + np.sqrt(half**2 - 1 + 0j)
    return np.where(np.abs(z) < 1, z, 1 / z)


def _polynomial(n_moments: int) -> np.ndarray:
    return np.array([math.comb(n_moments - 1 + k, k) for k in reversed(range(n_moments))], float)


def _polished(y: np.ndarray, n_moments: int) -> np.ndarray:
    """Newton's steps: the companion matrix of many moments loses digits."""
    P = _polynomial(n_moments)
    for _ in range(3 if n_moments > 1 else 0):
        y = y - np.polyval(P, y) / np.polyval(np.polyder(P), y)
    return y


def _conjugate_groups(z: np.ndarray) -> list[np.ndarray]:
    """Real roots alone, complex ones with their conjugate."""
    real = np.abs(np.imag(z)) < 1e-9 * np.abs(z)
    upper = z[~real & (np.imag(z) > 0)]
    return [*(r.reshape(1) for r in z[real]), *(np.array([u, u.conj()]) for u in upper)]


def _taps(n_moments: int, roots: np.ndarray) -> tuple[float, ...]:
    # Roots in order of their size would grow intermediate coefficients; interleave them.
    order = np.argsort(np.abs(np.angle(roots)))
    factors = [1.0] * n_moments + [-roots[i] for i in order]
    h = np.ones(1)
    for factor in factors:
        h = np.convolve(h, np.array([1, factor]))
    h = np.real(h)
    return tuple((math.sqrt(2) * h / h.sum()).tolist())


def _bent_phase(roots: np.ndarray) -> np.ndarray:
    """The phase of Π (1 − r e^{−iω}) over 0 ≤ ω ≤ π less the straight line through its ends."""
    omega = np.linspace(0, np.pi, 257)
    factors = 1 - roots[:, None] * np.exp(-1j * omega)
    phase = np.unwrap(np.angle(factors)).sum(0)
    return phase - omega * phase[-1] / np.pi
