"""Norms, sets, quadratics and what the algebra makes of them."""

import jax
import jax.numpy as jnp

from jaxrecon import functionals as F
from jaxrecon.core import from_function
from tests.functionals.draws import SHAPE, Case, normal, positive


def _matrix(dtype, rows, fold):
    """A matrix with orthonormal rows, as an operator on the last axis of an image."""
    q, _ = jnp.linalg.qr(normal(dtype, (6, 6), fold))
    return from_function(_apply, jax.ShapeDtypeStruct(SHAPE, dtype), q[:rows])


def _apply(matrix, x):
    return jnp.einsum("ij,yj->yi", matrix, x, precision="highest")


def _near_simplex(dtype, fold):
    return normal(dtype, fold=fold) * 0.5


ALGEBRA = {
    "scaled": Case(lambda d: 2.5 * F.L1(0.6), True),
    "scaled data": Case(
        lambda d: F.LeastSquares(normal(d, fold=1), positive(d, fold=5)) * 0.4, True
    ),
    "sum of quadratics": Case(lambda d: F.SquaredL2(0.4) + 0.3 * F.SquaredL2(0.7), True),
    "elastic net": Case(lambda d: F.L1(0.3) + F.SquaredL2(0.7) + 2 * F.SquaredL2(0.1), True),
    "positive l1": Case(lambda d: F.L1(0.3) + F.non_negative() + F.SquaredL2(0.2)),
    "data in a box": Case(lambda d: F.Huber(normal(d, fold=1), 0.4) + F.Box(-0.3, 0.5)),
    "translated": Case(lambda d: F.translated(F.L1(0.6), normal(d, fold=1)), True),
    "translated quadratic": Case(
        lambda d: F.translated(F.LeastSquares(normal(d, fold=1)), normal(d, fold=2)), True
    ),
    "translated set": Case(lambda d: F.translated(F.non_negative(), normal(d, fold=1))),
    "precomposed": Case(lambda d: F.precomposed(F.L1(0.6), 1.3 * _matrix(d, 4, 1), nu=1.69), True),
    "precomposed quadratic": Case(
        lambda d: F.precomposed(F.SquaredL2(0.6), _matrix(d, 6, 1)), True
    ),
    "envelope": Case(lambda d: F.moreau_envelope(F.L1(0.6), 0.5), True),
    "envelope of a set": Case(lambda d: F.moreau_envelope(F.L1Ball(2.0), 0.5), True),
    "envelope of data": Case(
        lambda d: F.moreau_envelope(F.LeastAbsolute(normal(d, fold=1)), 0.5), True
    ),
    "infimal convolution": Case(
        lambda d: F.infimal_convolution(F.L1(0.6), F.L21(0.9) + F.SquaredL2(0.1)), True, tol=1e-6
    ),
    "conjugate": Case(lambda d: F.conjugate(F.LeastSquares(normal(d, fold=1))), True, tol=1e-7),
}
CASES = {
    "zero": Case(lambda d: F.Zero(), True),
    "squared l2": Case(lambda d: F.SquaredL2(0.7), True),
    "l1": Case(lambda d: F.L1(0.6), True),
    "l1 weights": Case(lambda d: F.L1(positive(d, fold=5)), True),
    "l2": Case(lambda d: F.L2(0.9), True),
    "l2, to zero": Case(lambda d: F.L2(30.0), True),
    "l21": Case(lambda d: F.L21(0.9), True),
    "l21 axis": Case(lambda d: F.L21(0.9, axis=-1), True),
    "l21 axes": Case(lambda d: F.L21(0.4, axis=(0, 1)), True),
    "non-negative": Case(lambda d: F.non_negative()),
    "box": Case(lambda d: F.Box(-0.3, 0.4)),
    "l-inf ball": Case(lambda d: F.LInfBall(0.7), True),
    "l1 ball": Case(lambda d: F.L1Ball(3.0), True),
    "l1 ball, inside": Case(lambda d: F.L1Ball(99.0), True),
    "simplex": Case(lambda d: F.Simplex(1.5), point=_near_simplex),
    "simplex axis": Case(lambda d: F.Simplex(2.0, axis=0), point=_near_simplex),
    **ALGEBRA,
}
