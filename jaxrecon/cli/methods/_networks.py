"""Methods with a shipped network: unrolled, or a denoiser for a prior."""

import functools
from typing import Any

from jaxtyping import Array

from jaxrecon.cli.methods._method import Measurement, Outcome, Report, Settings
from jaxrecon.cli.methods._units import first_ct, first_mri, normalised, solved
from jaxrecon.core import Problem, identity
from jaxrecon.functionals import LeastSquares, denoisers
from jaxrecon.solvers import HQS
from jaxrecon.solvers.plug_and_play import dpir_schedule


def learned(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """A shipped network that reconstructs: every sample counts the same, whatever its weight."""
    del report
    net = loaded(settings.model)
    result = net.solve(measurement.operator, measurement.data, gradient="none")
    return Outcome(result.value, result.status, int(result.n_iter))


def ct_pnp(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    first = first_ct(measurement)
    denoiser = loaded(settings.model)
    return _plug_and_play(measurement, first, denoiser, settings, report)


def mri_pnp(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    denoiser, first = denoisers.Complex(loaded(settings.model)), first_mri(measurement)
    return _plug_and_play(measurement, first, denoiser, settings, report)


def _plug_and_play(
    measurement: Measurement,
    first: Array,
    denoiser: Any,
    settings: Settings,
    report: Report | None,
) -> Outcome:
    """Half-quadratic splitting with DPIR's schedule (Zhang et al. 2022), weighted.

    The strength is the last one of the denoiser, in units of the image.
    """
    if not settings.strength > 0:
        raise ValueError("`--strength` is 0, expected a positive strength of the denoiser")
    A, data, size, _ = normalised(measurement, first)
    schedule = dpir_schedule(settings.strength, settings.n_iter, factor=settings.trust)
    prior = denoisers.DenoiserPrior(denoiser, weight=schedule.weight)
    problem = Problem(((LeastSquares(data), A), (prior, identity(A.domain))))
    inputs = {"penalty": schedule.penalty}
    return solved(HQS(n_inner=10), problem, settings, report, first, size, inputs=inputs)


@functools.cache
def loaded(name: str | None) -> Any:
    """The shipped network of that name."""
    from jaxrecon.nets import pretrained  # a second, which only methods that need it should take

    return pretrained.load(str(name))
