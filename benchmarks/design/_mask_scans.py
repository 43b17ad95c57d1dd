"""Brains whose k-space is measured whole, and reconstructions of a part of it, for `masks.py`."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _quality.medical import fourier_crop, pyradiomics_brains, squared, studyforrest
from _quality.shared import evenly
from _settings import axial
from jax import Array

from jaxrecon import data, metrics
from jaxrecon.core import Problem, gradient, pytree, run
from jaxrecon.design.trajectories import cg_sense
from jaxrecon.functionals import L21, LeastSquares
from jaxrecon.nets import pretrained
from jaxrecon.physics import mri
from jaxrecon.solvers import PDHG

N_COILS, SIGMA = 6, 0.01
WEIGHTS = {"CG-SENSE": (0.001, 0.003, 0.01, 0.03), "TV": (0.0005, 0.001, 0.002, 0.004)}
WEIGHTS |= {"MoDL": (0.0,)}
TYPICAL = {"CG-SENSE": 0.005, "TV": 0.001, "MoDL": 0.0}  # while families are tuned


@pytree
class Scans:
    """Of several slices: noisy k-space, the maps to be reconstructed with, and the truth."""

    kspace: Array  # (slice, coil, y, x), all of it
    maps: Array  # (slice, coil, y, x)
    truth: Array  # (slice, y, x), combined by the true maps
    true_maps: Array  # (coil, y, x)


def brains(folder: Path, n: int, counts: tuple[int, int, int], seed: int) -> dict[str, Scans]:
    """Training (drawn from two volumes), validation and test scans, by patient."""
    n_train, n_tune, n_test = counts
    forrest, mni, colin = (
        studyforrest(folder)[160:340],
        axial(folder / "volumes/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")[40:140],
        axial(folder / "volumes/mr_t1_colin27_ch2.nii.gz")[60:120],
    )
    rng, fine = np.random.default_rng(seed), n * 3 // 2
    mixed = [(forrest, n_train - n_train // 4), (mni, n_train // 4)]
    chosen = [(v, sorted(rng.choice(len(v), k, replace=False))) for v, k in mixed]
    tune = prepared(colin, evenly(0, len(colin) - 1, n_tune), fine)
    groups = {
        "train": np.concatenate([prepared(v, which, fine) for v, which in chosen]),
        "tune": tune,
        "test": np.stack(pyradiomics_brains(folder, fine, n_test)),
    }
    keys = jax.random.split(jax.random.key(seed), 3)
    return {name: measured(x, n, k) for (name, x), k in zip(groups.items(), keys)}


def prepared(volume: np.ndarray, which: Any, n: int) -> np.ndarray:
    top = np.float32(np.percentile(volume, 99.9))
    return np.stack([fourier_crop(squared(volume[z]), n) / top for z in which])


def measured(fine: np.ndarray, n: int, key: Array) -> Scans:
    """All of k-space of objects on a finer grid, with noise."""
    scan = functools.partial(
        data.simulate_mri, shape=(n, n), sigma=SIGMA, n_coils=N_COILS, mask=jnp.ones((n, n), bool)
    )

    @jax.jit
    def one(image: Array, key: Array) -> tuple[Array, Array, Array]:
        s = scan(image, key=key)
        return s.kspace, s.maps, s.truth

    found = [one(x, k) for x, k in zip(fine, jax.random.split(key, len(fine)))]
    kspace, maps, truth = (jnp.stack(leaves) for leaves in zip(*found))
    return Scans(kspace, maps, truth, maps[0])


def calibrated(scans: Scans, region: tuple[int, int]) -> Scans:
    """The scans with maps that ESPIRiT finds in the centre of each one's noisy k-space.

    Nothing is cropped: where the object is not, neither are there any data.
    """
    kernel = (min(5, region[0] // 2), min(5, region[1] // 2))
    centre = mri.central_region(scans.kspace, region)
    shape = (scans.kspace.shape[-2], scans.kspace.shape[-1])
    found = [mri.espirit_maps(c, shape, kernel=kernel, crop=0.0)[0][0] for c in centre]
    return Scans(scans.kspace, jnp.stack(found), scans.truth, scans.true_maps)


# --------------------------------------------------------------------------------- reconstruction


@functools.partial(jax.jit, static_argnames="method")
def reconstructed(method: str, scans: Scans, mask: Array, weight: Any) -> Array:
    """Images of all slices, `combined` as the truth is."""

    def one(pair: tuple[Array, Array]) -> Array:
        kspace, maps = pair
        A = mri.sense(maps, mask)
        image = METHODS[method](A, jnp.where(mask, kspace, 0), weight)
        return combined(scans.true_maps, maps, image)

    return jax.lax.map(one, (scans.kspace, scans.maps))


def combined(true_maps: Array, maps: Array, image: Array) -> Array:
    """Σ conj(S) Ŝ x: what the coils see of an image, combined by the true maps S.

    Estimated maps have a phase of their own, which the image undoes: both are judged together.
    """
    return jnp.sum(jnp.conj(true_maps) * maps, 0) * image


def sense(A: Any, y: Array, weight: Any, n_iter: int = 30, tol: float = 1e-3) -> Array:
    return cg_sense(A, y[None], weight, n_iter=n_iter, tol=tol)[0]


def total_variation(
    A: Any, y: Array, weight: Any, n_iter: int = 80, gradient_by: Any = "none"
) -> Array:
    problem = Problem(((LeastSquares(y), A), (L21(weight), gradient(A.domain))))
    return run(PDHG(), problem, A.H(y), n_iter=n_iter, gradient=gradient_by).value


def network(A: Any, y: Array, weight: Any) -> Array:
    """The network that ships with jaxrecon, as it is."""
    del weight
    return shipped()(A, y)


@functools.cache
def shipped() -> Any:
    with jax.ensure_compile_time_eval():  # kept, so not of a program that is being traced
        return pretrained.load("mri-multicoil")


METHODS = {"CG-SENSE": sense, "TV": total_variation, "MoDL": network}


@jax.jit
def psnr(images: Array, truth: Array) -> Array:
    """Of every complex image; the range is that of the slice."""
    return jax.vmap(metrics.psnr)(images, truth)


def validated(method: str, scans: Scans, mask: Array) -> float:
    """PSNR of some scans, with a typical weight."""
    images = reconstructed(method, scans, mask, TYPICAL[method])
    return float(psnr(images, scans.truth).mean())


def tuned(method: str, scans: Scans, mask: Array) -> float:
    """The weight that suits these scans best."""
    scores = {
        w: float(psnr(reconstructed(method, scans, mask, w), scans.truth).mean())
        for w in WEIGHTS[method]
    }
    return max(scores, key=lambda w: scores[w])


# ----------------------------------------------------------------------------------------- design


# What is differentiated: the solution of CG-SENSE, TV's iterations, the network; and their weights.
DESIGNED = {
    "CG-SENSE": (functools.partial(sense, n_iter=100, tol=1e-2), 0.01),
    "TV": (functools.partial(total_variation, n_iter=30, gradient_by="unrolled"), 0.002),
    "MoDL": (network, 0.0),
}


def design_error(method: str, scans: Scans, weights: Array) -> Array:
    """The squared error of a reconstruction, relative to the object, with a mask of weights.

    A position of weight w counts w times in ‖Ax − y‖²; so those that are not measured have a
    derivative too, where the amplitude √w that is the operator's mask must not be zero.
    """
    amplitude = jnp.sqrt(weights + 1e-6)
    reconstruct, weight = DESIGNED[method]

    def one(kspace: Array, maps: Array, truth: Array) -> Array:
        found = reconstruct(mri.sense(maps, amplitude), amplitude * kspace, weight)
        error = combined(scans.true_maps, maps, found) - truth
        return jnp.sum(jnp.abs(error) ** 2) / jnp.sum(jnp.abs(truth) ** 2)

    each = jax.checkpoint(lambda x: one(*x))
    return jnp.mean(jax.lax.map(each, (scans.kspace, scans.maps, scans.truth)))
