"""Data fidelities."""

import jax.numpy as jnp
import numpy as np

from jaxrecon import functionals as F
from tests.functionals.draws import Case, normal, positive

COUNTS = (4 * np.arange(24) ** 2 % 17).reshape(4, 6)  # whole numbers, some of them zero


def _counts(dtype):
    return jnp.asarray(COUNTS, jnp.finfo(dtype).dtype)


def _line_integrals(dtype, fold):
    return 2 * positive(dtype, fold=fold)


def _positive(dtype, fold):
    return positive(dtype, fold=fold)


CASES = {
    "least squares": Case(lambda d: F.LeastSquares(normal(d, fold=1)), True),
    "weighted": Case(lambda d: F.LeastSquares(normal(d, fold=1), positive(d, fold=5)), True),
    "least absolute": Case(lambda d: F.LeastAbsolute(normal(d, fold=1)), True),
    "least absolute, weights": Case(
        lambda d: F.LeastAbsolute(normal(d, fold=1), positive(d, fold=5)), True
    ),
    "huber": Case(lambda d: F.Huber(normal(d, fold=1), 0.4), True),
    "huber, weights": Case(
        lambda d: F.Huber(normal(d, fold=1), positive(d, fold=6), positive(d, fold=5)), True
    ),
    "cauchy": Case(lambda d: F.StudentT(normal(d, fold=1), 0.3), True),
    "student t": Case(lambda d: F.StudentT(normal(d, fold=1), 0.5, 4.0, positive(d, fold=5)), True),
    "poisson": Case(lambda d: F.Poisson(_counts(d)), point=_positive),
    "poisson, background": Case(lambda d: F.Poisson(_counts(d), 0.7), point=_positive),
    "poisson, backgrounds": Case(
        lambda d: F.Poisson(_counts(d), positive(d, fold=5)), point=_positive
    ),
    "transmission": Case(lambda d: F.Transmission(_counts(d), 20.0), point=_line_integrals),
    "transmission, background": Case(
        lambda d: F.Transmission(_counts(d), 20 * positive(d, fold=5), 0.5), point=_line_integrals
    ),
    "amplitude": Case(lambda d: F.Amplitude(positive(d, fold=1)), True),
    "amplitude, weights": Case(
        lambda d: F.Amplitude(positive(d, fold=1), positive(d, fold=5)), True
    ),
    "intensity": Case(lambda d: F.Intensity(positive(d, fold=1)), True),
    "intensity, weights": Case(
        lambda d: F.Intensity(positive(d, fold=1), positive(d, fold=5)), True
    ),
    "rician": Case(lambda d: F.Rician(positive(d, fold=1), 0.4), True),
    "rician, sigmas": Case(lambda d: F.Rician(positive(d, fold=1), positive(d, fold=5)), True),
    "noise ball": Case(lambda d: F.NoiseBall(normal(d, fold=1), 2.0), True),
    "noise ball, weights": Case(
        lambda d: F.NoiseBall(normal(d, fold=1), 1.0, positive(d, fold=5)), True
    ),
    "noise ball, inside": Case(
        lambda d: F.NoiseBall(normal(d, fold=1), 99.0, positive(d, fold=5)), True
    ),
}
