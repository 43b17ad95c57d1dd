"""Regularisers on images of the registry's shape."""

import jax
import jax.numpy as jnp

from jaxrecon.functionals import priors as P
from tests.functionals.draws import SHAPE, Case, normal, positive

KEY = jax.random.key(4)


def image(dtype):
    return jax.ShapeDtypeStruct(SHAPE, jnp.dtype(dtype))


def _real(dtype):
    return jnp.finfo(dtype).dtype


def _ridge(dtype, modulus=0.0):
    """Bumpy splines, so that every piece counts; knots within the responses' range."""
    R = P.ridge(
        KEY, n_filters=3, kernel=(2, 3), n_knots=4, reach=2.0, weight=0.7, scale=1.3,
        modulus=modulus, dtype=_real(dtype),
    )  # fmt: skip
    slopes = jnp.abs(normal(_real(dtype), R.slopes.shape, 3)) - modulus
    return P.project_ridge(P.Ridge(R.filters, slopes, 0.3, 0.7, 1.3, modulus))


def _edges(dtype):
    return positive(dtype, (4, *SHAPE), 6)


def _neighbours(dtype):
    return P.Neighbourhood(diagonals=True, edges=_edges(dtype), kappa=positive(dtype, fold=7))


_SPACE = {"spacing": (1.0, 0.5), "diagonals": True}
_UNDECIMATED = {"levels": 1, "axes": (1,)}

CASES = {
    "tv": Case(lambda d: P.TV(0.3, n_iter=800), True, tol=1e-6),
    "tv anisotropic": Case(
        lambda d: P.TV(0.3, isotropic=False, spacing=0.5, n_iter=800), True, tol=1e-6
    ),
    "tv one axis": Case(lambda d: P.TV(0.3, axes=(1,), n_iter=800), True, tol=1e-6),
    "tv weights": Case(
        lambda d: P.TV(
            0.3 * positive(d, fold=5), n_iter=800, axis_weights=positive(d, (2,), fold=6)
        ),
        True,
        tol=1e-6,
    ),
    "smooth tv": Case(lambda d: P.SmoothTV(0.3, 0.2, axis_weights=positive(d, (2,))), True),
    "huber tv": Case(
        lambda d: P.SmoothTV(positive(d), 0.4, isotropic=False, huber=True, spacing=0.5), True
    ),
    "tgv": Case(lambda d: P.TGV(0.3, 0.5, n_iter=1500), True, tol=1e-4),
    "wavelet": Case(lambda d: P.WaveletL1(0.4, P.wavelet(image(d), "db2", levels=1)), True),
    "wavelet shifted": Case(
        lambda d: P.WaveletL1(0.4, P.wavelet(image(d), "haar", levels=1), jnp.array([1, 1])), True
    ),
    "symlet weights": Case(
        lambda d: P.WaveletL1(positive(d), P.wavelet(image(d), "sym3", levels=1)), True
    ),
    "undecimated": Case(
        lambda d: P.TransformL1(0.4, P.undecimated_wavelet(image(d), **_UNDECIMATED), n_iter=800),
        True,
        tol=1e-6,
    ),
    "dct": Case(lambda d: P.TransformL1(positive(d), P.dct(image(d), block=(2, 3))), True),
    "nuclear": Case(lambda d: P.NuclearNorm(0.6), True, tol=1e-8),
    "nuclear tall": Case(lambda d: P.NuclearNorm(0.6, rows=(1,)), True, tol=1e-8),
    "locally low rank": Case(
        lambda d: P.LocallyLowRank(0.5, (4,), axes=(1,), shift=jnp.array([1])), True, tol=1e-8
    ),
    "relative difference": Case(
        lambda d: P.RelativeDifference(0.8, 1.5, 0.1, P.Neighbourhood(**_SPACE)),
        point=lambda dtype, fold: positive(dtype, fold=fold),
    ),
    "relative difference, weighted": Case(
        lambda d: P.RelativeDifference(0.8, 1.5, 0.1, _neighbours(d)),
        point=lambda dtype, fold: positive(dtype, fold=fold),
    ),
    "qggmrf": Case(lambda d: P.QGGMRF(0.8, 0.3, 1.2, 0.7, P.Neighbourhood(**_SPACE)), True),
    "qggmrf weighted": Case(lambda d: P.QGGMRF(0.8, 0.3, 1.1, 1.0, _neighbours(d)), True),
    "ridge": Case(_ridge, True),
    "weakly convex ridge": Case(lambda d: _ridge(d, 0.5), True),
}
