"""Methods without networks: analytic, least squares, total variation, wavelets."""

import jax

from jaxrecon.cli.methods._method import Measurement, Outcome, Report, Settings
from jaxrecon.cli.methods._units import first_ct, first_mri, normalised, solved
from jaxrecon.core import Problem, gradient, identity
from jaxrecon.functionals import L21, LeastSquares, SquaredL2, WaveletL1, non_negative, wavelet
from jaxrecon.physics import ct
from jaxrecon.solvers import FISTA, PDHG, ConjugateGradient


def fbp(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    del settings, report
    return Outcome(ct.fbp(measurement.operator, measurement.data))


def cgls(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Conjugate gradients on the normal equations, stopped early.

    Weights only say which data are valid: early stopping regularises a system by its singular
    values, and statistical weights spread those far apart.
    """
    w = measurement.weights
    fidelity = LeastSquares(measurement.data, None if w is None else (w > 0) * 1.0)
    problem = Problem(((fidelity, measurement.operator),))
    return solved(ConjugateGradient(), problem, settings, report)


def ct_tv(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """PWLS + isotropic total variation + x ≥ 0 by PDHG, from the clipped FBP."""
    first = first_ct(measurement)
    A, data, size, _ = normalised(measurement, first)
    problem = Problem(
        (
            (LeastSquares(data), A),
            (L21(settings.strength), gradient(A.domain)),
            (non_negative(), identity(A.domain)),
        )
    )
    return solved(PDHG(), problem, settings, report, first, size)


def adjoint(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    del settings, report
    return Outcome(first_mri(measurement))


def cg_sense(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Least squares with a little Tikhonov, by conjugate gradients (Pruessmann 2001).

    Without weights: noise is the same in every sample, however densely they lie.
    """
    A = measurement.operator
    tikhonov = (SquaredL2(settings.strength), identity(A.domain))
    problem = Problem(((LeastSquares(measurement.data), A), tikhonov))
    return solved(ConjugateGradient(), problem, settings, report)


def l1_wavelet(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """FISTA with randomly shifted Daubechies-2 wavelets (Lustig 2007; random cycle spinning).

    Along a trajectory the data count by their areas: as on a grid, no part of k-space is then
    slower to converge, or less regularised, than another.
    """
    first = first_mri(measurement)
    A, data, size, _ = normalised(measurement, first)
    sparsity = WaveletL1(settings.strength, wavelet(A.domain, "db2", axes=(-2, -1)))
    problem = Problem(((LeastSquares(data), A), (sparsity, identity(A.domain))))
    return solved(FISTA(1.0), problem, settings, report, first, size, key=jax.random.key(0))


def mri_tv(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Least squares + isotropic total variation of the complex image, by PDHG.

    Weighted as in `l1_wavelet`.
    """
    first = first_mri(measurement)
    A, data, size, _ = normalised(measurement, first)
    variation = (L21(settings.strength), gradient(A.domain, axes=(-2, -1)))
    problem = Problem(((LeastSquares(data), A), variation))
    return solved(PDHG(), problem, settings, report, first, size)
