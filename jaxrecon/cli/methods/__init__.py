"""The reconstruction methods by name: one table that `recon`, `demo` and the benchmarks read.

A method takes a `Measurement` and its `Settings` and returns an `Outcome`. To add one, write its
function and its row.
"""

from jaxrecon.cli.methods import _classical, _networks, _posterior
from jaxrecon.cli.methods._method import Measurement, Method, Outcome, Report, Settings

_TABLE = (
    Method("fbp", "ct", "filtered back-projection, ramp filter", _classical.fbp, Settings()),
    Method(
        "cgls",
        "ct",
        "weighted least squares by conjugate gradients, stopped early",
        _classical.cgls,
        Settings(n_iter=12, tol=0.0),
    ),
    Method(
        "tv",
        "ct",
        "weighted least squares + total variation + positivity (PDHG)",
        _classical.ct_tv,
        Settings(n_iter=500, strength=1e-4),
    ),
    Method(
        "pnp",
        "ct",
        "weighted least squares + a shipped denoiser (plug-and-play, DPIR)",
        _networks.ct_pnp,
        Settings(n_iter=12, strength=0.01, trust=0.23 / 16, tol=0.0, model="denoiser-grey"),
        network="denoising",
    ),
    Method(
        "learned",
        "ct",
        "a shipped network: see jaxrecon models",
        _networks.learned,
        Settings(model="ct-sparse"),
        network="reconstruction",
    ),
    Method(
        "posterior",
        "ct",
        "samples from a shipped denoiser's posterior: mean, deviation, 90 % intervals (ΠGDM)",
        _posterior.ct_posterior,
        Settings(n_iter=20, strength=0.01, model="denoiser-grey", samples=19),
        network="denoising",
    ),
    Method(
        "zero-filled",
        "mri",
        "adjoint: zero-filled Fourier inversion",
        _classical.adjoint,
        Settings(),
        sampling="Cartesian",
    ),
    Method(
        "gridding",
        "mri",
        "adjoint of the density-compensated samples",
        _classical.adjoint,
        Settings(),
        sampling="non-Cartesian",
    ),
    Method(
        "cg-sense",
        "mri",
        "SENSE least squares by conjugate gradients, Tikhonov",
        _classical.cg_sense,
        Settings(n_iter=50, strength=1e-2),
    ),
    Method(
        "l1-wavelet",
        "mri",
        "SENSE + l1 of Daubechies wavelets (FISTA, random shifts)",
        _classical.l1_wavelet,
        Settings(n_iter=100, strength=3e-3, tol=0.0),
    ),
    Method(
        "tv",
        "mri",
        "SENSE + total variation (PDHG)",
        _classical.mri_tv,
        Settings(n_iter=200, strength=2e-3),
    ),
    Method(
        "pnp",
        "mri",
        "SENSE + a shipped denoiser (plug-and-play, DPIR)",
        _networks.mri_pnp,
        Settings(n_iter=12, strength=0.02, tol=0.0, model="denoiser-grey"),
        network="denoising",
    ),
    Method(
        "learned",
        "mri",
        "a shipped network: see jaxrecon models",
        _networks.learned,
        Settings(model="mri-multicoil"),
        sampling="Cartesian",
        network="reconstruction",
    ),
    Method(
        "posterior",
        "mri",
        "samples from a shipped denoiser's posterior: mean, deviation, 90 % intervals (ΠGDM)",
        _posterior.mri_posterior,
        Settings(n_iter=20, strength=0.01, model="denoiser-grey", samples=19),
        network="denoising",
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


__all__ = [
    "METHODS",
    "Measurement",
    "Method",
    "Outcome",
    "Report",
    "Settings",
    "find_method",
    "methods_of",
]
