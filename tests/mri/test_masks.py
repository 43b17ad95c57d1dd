"""Sampling masks: budgets, calibration regions, distances, densities and impossible requests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import mri
from jaxrecon.physics.mri._poisson_disc import _throw

SHAPES = [(64, 48), (33, 40)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("acceleration", [1, 1.5, 4, 11.3])
@pytest.mark.parametrize("ratio", [1, 4.0])
def test_poisson_disc_meets_its_budget(key, shape, acceleration, ratio):
    mask = mri.poisson_disc_mask(key, shape, acceleration, calibration=(8, 7), ratio=ratio)
    assert mask.shape == shape
    assert mask.dtype == bool
    assert int(mask.sum()) == round(mask.size / acceleration)
    assert mri.central_region(mask, (8, 7)).all()


def test_darts_keep_their_distance():
    shape, generator = (40, 30), np.random.default_rng(0)
    squared = generator.integers(0, 14, 1200)
    darts = generator.permutation(1200)
    accepted = _throw(darts, squared, shape, budget=1200)
    points = np.stack(np.unravel_index(darts, shape), 1)
    distance = ((points[:, None] - points[None]) ** 2).sum(-1)
    # A dart is accepted if and only if no earlier accepted one has it inside its disc.
    for i in range(1200):
        earlier = accepted[accepted < i]
        assert (i in accepted) == (distance[i, earlier] >= squared[earlier]).all()
    assert np.array_equal(_throw(darts, squared, shape, budget=50), accepted[:50])


@pytest.mark.parametrize(("acceleration", "ratio"), [(16.0, 1.0), (8, 3.0)])
def test_poisson_disc_keeps_its_distance(key, acceleration, ratio):
    shape = (80, 64)

    def closest(mask):
        radius = 1 + (ratio - 1) * np.hypot(*grid(shape))[mask]
        scaled = nearest_distance(np.asarray(mask)) / radius
        return scaled.min() / np.median(scaled)

    disc = mri.poisson_disc_mask(key, shape, acceleration, calibration=0, ratio=ratio)
    random = mri.random_mask(key, shape, acceleration, calibration=0, power=0)
    assert closest(np.asarray(disc)) > 0.65
    assert closest(np.asarray(random)) < 0.6


def test_poisson_disc_is_denser_in_the_centre(key):
    mask = np.asarray(mri.poisson_disc_mask(key, (96, 96), 8, calibration=0, ratio=4.0))
    rho = np.hypot(*grid(mask.shape))
    inner, outer = mask[rho < 0.3].mean(), mask[(rho > 0.8) & (rho < 1)].mean()
    # The density is 1/r²: 1/(1 + 3 ρ)² averaged over the two regions.
    density = (1 + 3 * rho) ** -2.0
    expected = density[rho < 0.3].mean() / density[(rho > 0.8) & (rho < 1)].mean()
    assert abs(inner / outer / expected - 1) < 0.25


def test_poisson_disc_without_corners(key):
    mask = np.asarray(mri.poisson_disc_mask(key, (64, 48), 5, calibration=8, corners=False))
    assert not mask[np.hypot(*grid(mask.shape)) > 1].any()
    assert mask.sum() == round(mask.size / 5)


def test_poisson_disc_needs_a_concrete_key(key):
    with pytest.raises(ValueError, match="`key` is traced"):
        jax.jit(lambda k: mri.poisson_disc_mask(k, (16, 16), 4, calibration=4))(key)


def test_random_masks_depend_on_the_key_alone(key):
    for draw in (mri.poisson_disc_mask, mri.random_mask, mri.random_lines_mask):
        masks = [draw(k, (32, 40), 4, calibration=4) for k in (key, key, jax.random.key(1))]
        assert jnp.array_equal(masks[0], masks[1])
        assert not jnp.array_equal(masks[0], masks[2])
    old_style = jax.random.PRNGKey(0)
    assert mri.poisson_disc_mask(old_style, (16, 16), 4, calibration=4).sum() == 64


@pytest.mark.parametrize("shape", SHAPES)
def test_random_mask_is_exact_under_jit_and_vmap(key, shape):
    draw = jax.jit(jax.vmap(lambda k: mri.random_mask(k, shape, 6, calibration=(6, 5))))
    masks = draw(jax.random.split(key, 4))
    assert masks.sum(axis=(1, 2)).tolist() == [round(shape[0] * shape[1] / 6)] * 4
    assert mri.central_region(masks, (6, 5)).all()


def test_random_density_follows_the_power_law(key):
    draw = jax.vmap(lambda k: mri.random_lines_mask(k, (1, 41), 20, calibration=0, power=2.0))
    frequency = np.asarray(draw(jax.random.split(key, 20_000))).mean(axis=(0, 1))
    # Two of 41 without replacement: p_i + Σ_j p_j p_i / (1 − p_j).
    p = (1 - np.abs(np.arange(41) - 20) / 21) ** 2
    p /= p.sum()
    odds = p / (1 - p)
    np.testing.assert_allclose(frequency, p * (1 + odds.sum() - odds), atol=0.01)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lines_run_across_the_phase_encoding_axis(key, axis):
    for mask in (
        mri.random_lines_mask(key, (32, 48), 4, calibration=4, axis=axis),
        mri.equispaced_lines_mask((32, 48), 4, calibration=4, axis=axis),
    ):
        lines = mask.all(axis=1 - axis % 2)
        assert jnp.array_equal(mask.any(axis=1 - axis % 2), lines)
        assert lines.shape == ((32, 48)[axis],)
        assert mri.central_region(lines, (4,)).all()


def test_equispaced_lines():
    lines = mri.equispaced_lines_mask((3, 10), 4, calibration=3, offset=1)[0]
    assert np.flatnonzero(lines).tolist() == [1, 4, 5, 6, 9]


def test_lattice_is_a_group():
    mask = np.asarray(mri.lattice_mask((12, 12), (2, 3), shift=1, calibration=0))
    assert mask.sum() == 12 * 12 / 6
    # Moving by a lattice vector, periodically, changes nothing.
    for step in ((2, 1), (0, 3), (6, 0)):
        assert np.array_equal(np.roll(mask, step, (0, 1)), mask)
    assert not np.array_equal(np.roll(mask, (2, 0), (0, 1)), mask)


@pytest.mark.parametrize("draw", [mri.poisson_disc_mask, mri.random_mask, mri.random_lines_mask])
def test_impossible_budgets(key, draw):
    with pytest.raises(ValueError, match="`calibration` alone"):
        draw(key, (32, 32), 8, calibration=20)
    with pytest.raises(ValueError, match=r"`acceleration` is 0\.5"):
        draw(key, (32, 32), 0.5, calibration=4)
    with pytest.raises(ValueError, match=r"`calibration` is 40"):
        draw(key, (32, 32), 1, calibration=40)
    with pytest.raises(ValueError, match="`acceleration` is nan"):
        draw(key, (32, 32), float("nan"), calibration=4)


def test_other_impossible_requests(key):
    with pytest.raises(ValueError, match="`corners=True`"):
        mri.poisson_disc_mask(key, (32, 32), 1.1, calibration=4, corners=False)
    with pytest.raises(ValueError, match="`ratio`"):
        mri.poisson_disc_mask(key, (32, 32), 4, calibration=4, ratio=0.5)
    with pytest.raises(ValueError, match="`acceleration`"):
        mri.equispaced_lines_mask((32, 32), 0)
    with pytest.raises(ValueError, match="`acceleration`"):
        mri.lattice_mask((32, 32), (2, 0))
    with pytest.raises(ValueError, match="`calibration`"):
        mri.equispaced_lines_mask((32, 32), 2, calibration=-1)


def grid(shape):
    """Coordinates of k-space, ±1 at the edges."""
    axes = [(np.arange(n) - n // 2) / (n / 2) for n in shape]
    return np.meshgrid(*axes, indexing="ij")


def nearest_distance(mask):
    """Distance of each sample to its nearest neighbour."""
    points = np.argwhere(mask)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    np.fill_diagonal(squared, squared.max())
    return np.sqrt(squared.min(1))
