"""The networks that ship: files and cards agree, they run, and they are better than nothing.

The floors are far below what the cards say, and above what does without the network: they find
weights that no longer belong to the code around them.
"""

import functools
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.core import Problem, identity, run
from jaxrecon.functionals import LeastSquares, denoisers
from jaxrecon.nets import pretrained
from jaxrecon.nets.layers import n_parameters
from jaxrecon.physics import complex_gaussian_noise, ct, mri
from jaxrecon.solvers import GradientDescent

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "jaxrecon" / "nets" / "pretrained" / "weights"
NAMES = ("ct-sparse", "denoiser-grey", "mri-multicoil", "prior-brain", "wcrr")
LARGEST = 4_000_000  # bytes of all files together: they travel in every wheel
N = 32
load = functools.cache(pretrained.load)


def head() -> jax.Array:
    return data.area_average(data.modified_shepp_logan(half_width=N / 2), (N, N))


def psnr(x, truth) -> float:
    error = jnp.abs(jnp.abs(x) - jnp.abs(truth))
    return float(-10 * jnp.log10(jnp.mean(error**2) / jnp.max(jnp.abs(truth)) ** 2))


def noisy() -> jax.Array:
    return head() + 0.1 * jax.random.normal(jax.random.key(0), (N, N))


def ct_scan():
    """24 views of the head, 3 % noise."""
    A = ct.parallel_beam(jnp.arange(24) * (np.pi / 24), (N, N), 46)
    y = A(head())
    return A, y + 0.03 * jnp.mean(y) * jax.random.normal(jax.random.key(1), y.shape)


def mri_scan():
    """A quarter of k-space of six coils, the head with a smooth phase."""
    x = head() * jnp.exp(1j * jnp.linspace(-1, 1, N))
    mask = mri.random_mask(jax.random.key(2), (N, N), 4.0, calibration=8)
    A = mri.sense(mri.normalise_maps(mri.birdcage_maps(6, (N, N))), mask)
    return A, jnp.where(mask, complex_gaussian_noise(jax.random.key(3), A(x), 0.01), 0)


SCANS = {"ct-sparse": (ct_scan, ct.fbp), "mri-multicoil": (mri_scan, lambda A, y: A.H(y))}


def test_the_names():
    assert tuple(pretrained.names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_of_the_card(name):
    card, raw = pretrained.card(name), (WEIGHTS / f"{name}.npz").read_bytes()
    stored = card.stored
    assert stored is not None
    assert stored.sha256 == hashlib.sha256(raw).hexdigest()
    assert stored.n_bytes == len(raw)
    assert stored.n_parameters == n_parameters(load(name))
    assert card.figures
    assert {d.use for d in card.data} >= {"training", "test"}
    for text in (card.units, card.use, card.licence, card.training.command, *card.limits):
        assert text.strip()


def test_all_files_together_are_small():
    files = list(WEIGHTS.iterdir())
    assert sorted(f.name for f in files) == sorted(
        f"{n}.{s}" for n in NAMES for s in ("npz", "toml")
    )
    assert sum(f.stat().st_size for f in files) < LARGEST


@pytest.mark.parametrize("name", ["denoiser-grey", "prior-brain", "wcrr"])
def test_denoisers_denoise(name):
    D, x = load(name), noisy()
    clean = jax.jit(lambda D, x, sigma: D(x, sigma))(D, x, 0.1)
    assert clean.dtype == jnp.float32
    assert psnr(clean, head()) > psnr(x, head()) + 2


@pytest.mark.parametrize("name", SCANS)
def test_reconstructors_reconstruct(name):
    scan, direct = SCANS[name]
    A, y = scan()
    image = load(name).solve(A, y, unroll=1).value  # compiles sooner than the call
    assert image.dtype == A.domain.dtype
    assert psnr(image, head()) > psnr(direct(A, y), head()) + 2


def test_a_network_is_a_pytree_of_its_weights(x64):
    """Through jit, over a batch, and with the derivative of finite differences."""
    net, (A, y) = load("mri-multicoil"), mri_scan()
    one = jax.jit(lambda net, A, y: net.solve(A, y, unroll=1).value)
    both = jax.jit(jax.vmap(lambda y: one(net, A, y)))(jnp.stack([y, 2 * y]))
    np.testing.assert_allclose(both[0], one(net, A, y), atol=1e-5)
    np.testing.assert_allclose(both[1], 2 * both[0], atol=1e-4)  # whatever the units

    D = load("denoiser-grey")
    x, step = (jnp.asarray(a, jnp.float64)[:12, :12] for a in (noisy(), head() - 0.3))
    energy = jax.jit(lambda D, x: jnp.sum(D(x, 0.1) ** 2))
    slopes, slope = jax.jit(jax.grad(energy, (0, 1)))(D, x)
    h = 1e-6
    numbers = (energy(D, x + h * step) - energy(D, x - h * step)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(slope, step), numbers, rtol=1e-5)
    assert jax.tree.structure(slopes) == jax.tree.structure(D)


def test_the_ridge_regulariser_serves_any_problem():
    x = noisy()
    prior = load("wcrr").functional(0.1)
    problem = Problem(((LeastSquares(x), identity(x)), (prior, identity(x))))
    image = run(GradientDescent(0.3), problem, x, n_iter=40).value
    assert psnr(image, head()) > psnr(x, head()) + 2


def test_complex_images_and_bfloat16():
    D = denoisers.Complex(load("denoiser-grey"))
    x = noisy() * jnp.exp(0.3j)
    assert D(x, 0.1).dtype == jnp.complex64
    half = pretrained.load("denoiser-grey", dtype=jnp.bfloat16)
    assert half(noisy(), 0.1).dtype == jnp.float32
    np.testing.assert_allclose(half(noisy(), 0.1), load("denoiser-grey")(noisy(), 0.1), atol=0.03)
    with pytest.raises(ValueError, match="`dtype` is bfloat16"):
        pretrained.load("wcrr", dtype=jnp.bfloat16)


def test_the_weights_travel_in_the_wheel():
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling")
    files = {f.distribution_path for f in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    place = "jaxrecon/nets/pretrained/weights"
    assert {f"{place}/{name}.{s}" for name in NAMES for s in ("npz", "toml")} <= files
