"""The reconstruction methods by name: one table that `recon`, `demo` and the benchmarks read.

A method takes a `Measurement` and its `Settings` and returns an `Outcome`. Regularised methods
solve in the measurement's own units, so that one default strength serves scans of any scale: the
operator (statistical weights inside) is scaled to norm one, and the image is counted in units of
the 99th percentile of a first image, filtered back-projection or adjoint. To add a method, write
its function and its row.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, Problem, Status, diagonal, gradient, identity, norm, run
from jaxrecon.functionals import (
    L21,
    LeastSquares,
    SquaredL2,
    WaveletL1,
    denoisers,
    non_negative,
    wavelet,
)
from jaxrecon.physics import ct
from jaxrecon.solvers import FISTA, HQS, PDHG, ConjugateGradient
from jaxrecon.solvers.plug_and_play import dpir_schedule

Report = Callable[[Any, Any], None]

_MARGIN = 1.02  # power iteration approaches the norm from below


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One image's worth of data with its forward model.

    Attributes:
        operator: the forward model A, a `LinearOperator`; of `ct` for the methods of CT.
        data: y.
        weights: of y, or None. In CT inverse variances; in non-Cartesian MRI the area of k-space
            that each sample stands for, which makes the adjoint an image (gridding).
    """

    operator: Any
    data: Array
    weights: Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set of a method.

    Attributes:
        n_iter: iterations at most.
        strength: of the regularisation.
        trust: in a denoiser, DPIR's λ; less of it where most singular values are far below the
            norm, as in CT.
        tol: to stop at; 0 does all iterations.
        model: the shipped network, by name, of methods that need one.
    """

    n_iter: int = 0
    strength: float = 0.0
    trust: float = 0.23
    tol: float = 1e-4
    model: str | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """An image, and for iterative methods how the run ended."""

    image: Array
    status: Status | None = None
    n_iter: int | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table.

    With a `sampling`, "Cartesian" or "non-Cartesian", it is only for that; with a `network`,
    "reconstruction" or "denoising", it needs a shipped network for that task.
    """

    name: str
    modality: str
    summary: str
    reconstruct: Callable[[Measurement, Settings, Report | None], Outcome]
    defaults: Settings
    sampling: str | None = None
    network: str | None = None

    @property
    def scope(self) -> str:
        """What it is for, in words."""
        return ", ".join(filter(None, (self.modality.upper(), self.sampling)))

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
    """Conjugate gradients on the normal equations, stopped early.

    Weights only say which data are valid: early stopping regularises a system by its singular
    values, and statistical weights spread those far apart.
    """
    w = measurement.weights
    fidelity = LeastSquares(measurement.data, None if w is None else (w > 0) * 1.0)
    problem = Problem(((fidelity, measurement.operator),))
    return _finish(ConjugateGradient(), problem, settings, report)


def _ct_tv(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """PWLS + isotropic total variation + x ≥ 0 by PDHG, from the clipped FBP."""
    first = jnp.maximum(ct.fbp(measurement.operator, measurement.data), 0)
    A, data, size = _normalised(measurement, first)
    problem = Problem(
        (
            (LeastSquares(data), A),
            (L21(settings.strength), gradient(A.domain)),
            (non_negative(), identity(A.domain)),
        )
    )
    return _finish(PDHG(), problem, settings, report, first, size)


def _first_mri(measurement: Measurement) -> Array:
    """The adjoint of the weighted data: zero-filled Fourier inversion, or gridding."""
    w, data = measurement.weights, measurement.data
    return measurement.operator.H(data if w is None else w * data)


def _adjoint(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    del settings, report
    return Outcome(_first_mri(measurement))


def _cg_sense(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Least squares with a little Tikhonov, by conjugate gradients (Pruessmann 2001).

    Without weights: noise is the same in every sample, however densely they lie.
    """
    A = measurement.operator
    tikhonov = (SquaredL2(settings.strength), identity(A.domain))
    problem = Problem(((LeastSquares(measurement.data), A), tikhonov))
    return _finish(ConjugateGradient(), problem, settings, report)


def _l1_wavelet(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """FISTA with randomly shifted Daubechies-2 wavelets (Lustig 2007; random cycle spinning).

    Along a trajectory the data count by their areas: as on a grid, no part of k-space is then
    slower to converge, or less regularised, than another.
    """
    first = _first_mri(measurement)
    A, data, size = _normalised(measurement, first)
    sparsity = WaveletL1(settings.strength, wavelet(A.domain, "db2", axes=(-2, -1)))
    problem = Problem(((LeastSquares(data), A), (sparsity, identity(A.domain))))
    return _finish(FISTA(1.0), problem, settings, report, first, size, key=jax.random.key(0))


def _mri_tv(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """Least squares + isotropic total variation of the complex image, by PDHG.

    Weighted as in `_l1_wavelet`.
    """
    first = _first_mri(measurement)
    A, data, size = _normalised(measurement, first)
    variation = (L21(settings.strength), gradient(A.domain, axes=(-2, -1)))
    problem = Problem(((LeastSquares(data), A), variation))
    return _finish(PDHG(), problem, settings, report, first, size)


def _learned(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    """A shipped network that reconstructs: every sample counts the same, whatever its weight."""
    del report
    net = _loaded(settings.model)
    result = net.solve(measurement.operator, measurement.data, gradient="none")
    return Outcome(result.value, result.status, int(result.n_iter))


def _ct_pnp(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    first = jnp.maximum(ct.fbp(measurement.operator, measurement.data), 0)
    denoiser = _loaded(settings.model)
    return _plug_and_play(measurement, first, denoiser, settings, report)


def _mri_pnp(measurement: Measurement, settings: Settings, report: Report | None) -> Outcome:
    denoiser, first = denoisers.Complex(_loaded(settings.model)), _first_mri(measurement)
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
    A, data, size = _normalised(measurement, first)
    schedule = dpir_schedule(settings.strength, settings.n_iter, factor=settings.trust)
    prior = denoisers.DenoiserPrior(denoiser, weight=schedule.weight)
    problem = Problem(((LeastSquares(data), A), (prior, identity(A.domain))))
    inputs = {"penalty": schedule.penalty}
    return _finish(HQS(n_inner=10), problem, settings, report, first, size, inputs=inputs)


@functools.cache
def _loaded(name: str | None) -> Any:
    from jaxrecon.nets import pretrained  # a second, which only methods that need it should take

    return pretrained.load(str(name))


def _normalised(measurement: Measurement, first: Array) -> tuple[LinearOperator, Array, Array]:
    """A of norm one (weights inside), data and image in units of the first image's size."""
    A, data, w = measurement.operator, measurement.data, measurement.weights
    if w is not None:
        root = diagonal(jnp.sqrt(w), A.range)
        A, data = root @ A, root(data)
    norm_A = _MARGIN * norm(A, jax.random.key(0), n_iter=50, tol=1e-3).value
    size = jnp.percentile(jnp.abs(first), 99.0)
    size = jnp.where(size > 0, size, jnp.max(jnp.abs(first)))  # a small object in a large field
    if not float(size) > 0:
        raise ValueError("the first image is zero everywhere: the data hold no signal")
    return (1 / norm_A) * A, data / (norm_A * size), size


def _finish(
    algorithm, problem, settings, report, first=None, size: Any = 1.0, key=None, inputs=None
) -> Outcome:
    domain = problem.domain
    x0 = jnp.zeros(domain.shape, domain.dtype) if first is None else first / size
    result = run(
        algorithm,
        problem,
        x0,
        n_iter=settings.n_iter,
        tol=settings.tol or None,
        inputs=inputs,
        key=key,
        progress=report,
    )
    return Outcome(size * result.value, result.status, int(result.n_iter))


_TABLE = (
    Method("fbp", "ct", "filtered back-projection, ramp filter", _fbp, Settings()),
    Method(
        "cgls",
        "ct",
        "weighted least squares by conjugate gradients, stopped early",
        _cgls,
        Settings(n_iter=12, tol=0.0),
    ),
    Method(
        "tv",
        "ct",
        "weighted least squares + total variation + positivity (PDHG)",
        _ct_tv,
        Settings(n_iter=500, strength=1e-4),
    ),
    Method(
        "pnp",
        "ct",
        "weighted least squares + a shipped denoiser (plug-and-play, DPIR)",
        _ct_pnp,
        Settings(n_iter=12, strength=0.01, trust=0.23 / 16, tol=0.0, model="denoiser-grey"),
        network="denoising",
    ),
    Method(
        "learned",
        "ct",
        "a shipped network: see jaxrecon models",
        _learned,
        Settings(model="ct-sparse"),
        network="reconstruction",
    ),
    Method(
        "zero-filled",
        "mri",
        "adjoint: zero-filled Fourier inversion",
        _adjoint,
        Settings(),
        sampling="Cartesian",
    ),
    Method(
        "gridding",
        "mri",
        "adjoint of the density-compensated samples",
        _adjoint,
        Settings(),
        sampling="non-Cartesian",
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
    Method(
        "pnp",
        "mri",
        "SENSE + a shipped denoiser (plug-and-play, DPIR)",
        _mri_pnp,
        Settings(n_iter=12, strength=0.02, tol=0.0, model="denoiser-grey"),
        network="denoising",
    ),
    Method(
        "learned",
        "mri",
        "a shipped network: see jaxrecon models",
        _learned,
        Settings(model="mri-multicoil"),
        sampling="Cartesian",
        network="reconstruction",
    ),
)

METHODS: dict[tuple[str, str], Method] = {(m.modality, m.name): m for m in _TABLE}


def methods_of(modality: str, sampling: str = "Cartesian") -> list[Method]:
    """The table's rows for "ct" or "mri", in the order in which pictures show them."""
    rows = [m for m in _TABLE if m.modality == modality]
    return [m for m in rows if m.sampling in (None, sampling)]


def find_method(modality: str, name: str, sampling: str = "Cartesian") -> Method:
    """The method of that name for a modality and, in MRI, a kind of sampling.

    Raises:
        ValueError: there is none; says which there are.
    """
    method = METHODS.get((modality, name))
    if method is None or method.sampling not in (None, sampling):
        kind = f"{sampling} MRI" if modality == "mri" else modality.upper()
        known = ", ".join(m.name for m in methods_of(modality, sampling))
        raise ValueError(f"`method` {name!r} is not one for {kind}: it has {known}")
    return method
