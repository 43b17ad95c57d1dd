"""Samples of the posterior: what the data leave open, as images.

ΠGDM with a shipped denoiser for the prior, in the measurement's own units, from a first image with
noise as strong as the denoiser knows it. The noise of the data is what the measurement says.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.cli.methods._method import Measurement, Outcome, Report, Settings
from jaxrecon.cli.methods._networks import loaded
from jaxrecon.cli.methods._units import first_ct, first_mri, normalised
from jaxrecon.functionals import denoisers
from jaxrecon.posterior import Diffusion, PiGDM, karras_levels, posterior, sample

# The highest level, in the image's units: the shipped denoisers know noise up to 55/255.
_HIGHEST = 0.2


def ct_posterior(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    return _sampled(measurement, first_ct(measurement), loaded(settings.model), settings, report)


def mri_posterior(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Every sample of k-space counts the same, however densely they lie: noise does not know."""
    first = first_mri(measurement)
    alike = Measurement(
        operator=measurement.operator, data=measurement.data, noise=measurement.noise
    )
    denoiser = denoisers.Complex(loaded(settings.model))
    return _sampled(alike, first, denoiser, settings, report)


def _sampled(
    measurement: Measurement,
    first: Array,
    denoiser: Any,
    settings: Settings,
    report: Report | None,
) -> Outcome:
    """One sample after the other, which keeps the memory of one; the strength is the last level."""
    noise = 0.0 if measurement.noise is None else measurement.noise()
    if not noise > 0:
        raise ValueError("the data's noise is zero or unknown: no posterior without it")
    if not 0 < settings.strength < _HIGHEST:
        raise ValueError(
            f"`--strength` is {settings.strength}, expected the last noise level of the denoiser, "
            f"between 0 and {_HIGHEST}"
        )
    A, data, size, scale = normalised(measurement, first)
    target = posterior(A, data, noise / scale, denoiser)
    levels = karras_levels(settings.n_iter, high=_HIGHEST, low=settings.strength)
    sampler = Diffusion(levels, PiGDM(), fresh=1.0)
    drawn = []
    for i, key in enumerate(jax.random.split(jax.random.key(0), settings.samples)):
        if report is not None:
            report.begin_at(i * settings.n_iter)
        result = sample(sampler, target, key, x0=first / size, progress=report)
        drawn.append(jax.block_until_ready(size * result.value))
    samples = jnp.stack(drawn)
    return Outcome(samples.mean(axis=0), samples=samples, noise=noise)
