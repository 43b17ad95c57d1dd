"""The reconstruction methods by name: one table that `recon`, `demo` and the benchmarks read.

A method takes a `Measurement` and its `Settings` and returns an `Outcome`. Regularisation weights
are relative to the measurement, so that one default serves scans of any unit: with s the 99th
percentile of a first image (filtered back-projection, or the adjoint image) and ‖A‖ the operator
norm, the weight is strength · s · ‖A‖². To add a method, write its function and its row.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, Problem, Status, gradient, identity, norm, run
from jaxrecon.functionals import (
    L21,
    LeastSquares,
    SquaredL2,
    WaveletL1,
    non_negative,
    wavelet,
)
from jaxrecon.physics import ct
from jaxrecon.solvers import FISTA, PDHG, ConjugateGradient

Report = Callable[[Any, Any], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One image's worth of data with its forward model.

    Attributes:
        operator: the forward model A.
        data: y.
        weights: statistical weights of y, or None.
    """

    operator: LinearOperator
    data: Array
    weights: Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Iterations at most, regularisation strength, stopping tolerance (0: do all iterations)."""

    n_iter: int = 0
    strength: float = 0.0
    tol: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Outcome:
    """An image, and for iterative methods how the run ended."""

    image: Array
    status: Status | None = None
    n_iter: int | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    modality: str
    summary: str
    reconstruct: Callable[[Measurement, Settings, Report | None], Outcome]
    defaults: Settings

    def __call__(
        self, measurement: Measurement, report: Report | None = None, **settings: Any
    ) -> Outcome:
        """Runs with the defaults, but for the settings given (None means default)."""
        chosen = {name: value for name, value in settings.items() if value is not None}
        return self.reconstruct(measurement, dataclasses.replace(self.defaults, **chosen), report)


def _fbp(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    del settings, report
    return Outcome(ct.fbp(measurement.operator, measurement.data))


def _cgls(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Conjugate gradients on the normal equations, stopped early."""
    fidelity = LeastSquares(measurement.data, measurement.weights)
    problem = Problem(((fidelity, measurement.operator),))
    return _finish(ConjugateGradient(), problem, settings, report)


def _ct_tv(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """PWLS + isotropic total variation + x ≥ 0 by PDHG, from the clipped FBP."""
    A = measurement.operator
    first = jnp.maximum(ct.fbp(A, measurement.data), 0)
    weight = _weight(A, first, settings.strength)
    problem = Problem(
        (
            (LeastSquares(measurement.data, measurement.weights), A),
            (L21(weight), gradient(A.domain)),
            (non_negative(), identity(A.domain)),
        )
    )
    return _finish(PDHG(), problem, settings, report, first)


def _zero_filled(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    del settings, report
    return Outcome(measurement.operator.H(measurement.data))


def _cg_sense(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Least squares with a little Tikhonov, by conjugate gradients (Pruessmann 2001)."""
    A = measurement.operator
    tikhonov = (SquaredL2(settings.strength), identity(A.domain))
    problem = Problem(((LeastSquares(measurement.data), A), tikhonov))
    return _finish(ConjugateGradient(), problem, settings, report)


def _l1_wavelet(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """FISTA with randomly shifted Daubechies-2 wavelets (Lustig 2007; random cycle spinning)."""
    A = measurement.operator
    first = A.H(measurement.data)
    transform = wavelet(A.domain, "db2", axes=(-2, -1))
    sparsity = WaveletL1(_weight(A, first, settings.strength), transform)
    problem = Problem(((LeastSquares(measurement.data), A), (sparsity, identity(A.domain))))
    return _finish(FISTA(), problem, settings, report, first, key=jax.random.key(0))


def _mri_tv(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Least squares + isotropic total variation of the complex image, by PDHG."""
    A = measurement.operator
    first = A.H(measurement.data)
    weight = _weight(A, first, settings.strength)
    variation = (L21(weight), gradient(A.domain, axes=(-2, -1)))
    problem = Problem(((LeastSquares(measurement.data), A), variation))
    return _finish(PDHG(), problem, settings, report, first)


def _finish(algorithm, problem, settings, report, x0=None, key=None) -> Outcome:
    domain = problem.domain
    x0 = jnp.zeros(domain.shape, domain.dtype) if x0 is None else x0
    result = run(
        algorithm,
        problem,
        x0,
        n_iter=settings.n_iter,
        tol=settings.tol or None,
        key=key,
        progress=report,
    )
    return Outcome(result.value, result.status, int(result.n_iter))


def _weight(A: LinearOperator, first: Array, strength: float) -> Array:
    size = norm(A, jax.random.key(0), n_iter=30, tol=1e-3).value
    return strength * jnp.percentile(jnp.abs(first), 99.0) * size**2


_TABLE = (
    Method("fbp", "ct", "filtered back-projection, ramp filter", _fbp, Settings()),
    Method(
        "cgls",
        "ct",
        "weighted least squares by conjugate gradients, stopped early",
        _cgls,
        Settings(n_iter=20, tol=0.0),
    ),
    Method(
        "tv",
        "ct",
        "weighted least squares + total variation + positivity (PDHG)",
        _ct_tv,
        Settings(n_iter=300, strength=1e-3),
    ),
    Method(
        "zero-filled", "mri", "adjoint: zero-filled Fourier inversion", _zero_filled, Settings()
    ),
    Method(
        "cg-sense",
        "mri",
        "SENSE least squares by conjugate gradients, Tikhonov",
        _cg_sense,
        Settings(n_iter=50, strength=1e-2),
    ),
    Method(
        "l1-wavelet",
        "mri",
        "SENSE + l1 of Daubechies wavelets (FISTA, random shifts)",
        _l1_wavelet,
        Settings(n_iter=100, strength=3e-3, tol=0.0),
    ),
    Method(
        "tv", "mri", "SENSE + total variation (PDHG)", _mri_tv, Settings(n_iter=200, strength=2e-3)
    ),
)

METHODS: dict[tuple[str, str], Method] = {(m.modality, m.name): m for m in _TABLE}


def methods_of(modality: str) -> list[Method]:
    """The table's rows for "ct" or "mri", in the order in which pictures show them."""
    return [m for m in _TABLE if m.modality == modality]


def find_method(modality: str, name: str) -> Method:
    """The method of that name for a modality.

    Raises:
        ValueError: there is none; says which there are.
    """
    if (modality, name) not in METHODS:
        known = ", ".join(m.name for m in methods_of(modality))
        raise ValueError(f"`method` {name!r} is not one for {modality.upper()}: it has {known}")
    return METHODS[modality, name]
