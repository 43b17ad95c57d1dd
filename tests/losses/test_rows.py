"""Splitting scans: restricted operators, units, and the splits' probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.core import tree
from jaxrecon.core.operators._operator import Composition
from jaxrecon.physics import ct, mri
from jaxrecon.training import losses
from jaxrecon.training.losses import self_supervised
from jaxrecon.training.losses.self_supervised._rows import complement, count, unit_axes, weigh
from jaxrecon.training.losses.self_supervised._splits import split_units
from jaxrecon.training.losses.self_supervised._subsets import interleaved, select_data

KEY = jax.random.key(4)


def maps(n_coils=2, shape=(4, 6)):
    return jax.random.normal(KEY, (n_coils, *shape), complex)


def _cartesian(mask):
    return mri.cartesian(mask, (4, 6), dtype=jnp.zeros((), complex).dtype)


def _eps():
    return 1e-10 if jax.config.read("jax_enable_x64") else 1e-3


def _stack():
    return core.stack([SCANS["parallel"](), 2.0 * SCANS["parallel"]()])


def _padded(image):
    grid = jax.ShapeDtypeStruct((4, 6), image.dtype)
    transform = 2.0 * (core.fft(grid) @ core.pad(image, (4, 6)))
    return core.diagonal(jnp.arange(6)[None] % 3 > 0, grid) @ transform


def _nonlinear():
    scan = SCANS["parallel"]()
    return core.chain(core.pointwise(jnp.exp, scan.range), scan)


SCANS = {
    "sense": lambda: mri.sense(maps(), jnp.arange(24).reshape(4, 6) % 3 > 0),
    "sense, lines": lambda: mri.sense(maps(), jnp.arange(6)[None] % 3 > 0),
    "sense, soft": lambda: mri.sense(maps(), jnp.arange(24.0).reshape(4, 6) % 3),
    "cartesian": lambda: 2.0 * _cartesian(jnp.arange(24).reshape(4, 6) % 3 > 0),
    "cartesian, lines": lambda: _cartesian(jnp.arange(6)[None] % 3 > 0),
    "cartesian, padded": lambda: _padded(jnp.zeros((3, 4), complex)),
    "shots": lambda: mri.noncartesian_sense(
        maps(), mri.trajectories.radial(4, 5, (4, 6)), eps=_eps(), backend="dft"
    ),
    "parallel": lambda: ct.parallel_beam(jnp.linspace(0.1, 3, 6), (4, 5), 7),
    "weighted views": lambda: (
        core.diagonal(jnp.full((6, 7), 0.5).at[2].set(0.0), SCANS["parallel"]().range)
        @ SCANS["parallel"]()
    ),
    "identity": lambda: core.identity(jnp.zeros((4, 5))),
    "stack": _stack,
}

# The shape of the units, and how many of them are measured.
UNITS = {
    "sense": ((1, 4, 6), 16),
    "sense, lines": ((1, 1, 6), 4),
    "sense, soft": ((1, 4, 6), 16),
    "cartesian": ((4, 6), 16),
    "cartesian, lines": ((1, 6), 4),
    "cartesian, padded": ((1, 6), 4),
    "shots": ((1, 4, 1), 4),
    "parallel": ((6, 1), 6),
    "weighted views": ((6, 1), 5),
    "identity": ((4, 5), 20),
}


# One of each way to restrict a scan.
WAYS = ("sense", "cartesian", "cartesian, padded", "shots", "identity", "stack")


@pytest.mark.parametrize("name", WAYS)
def test_restricted_is_the_masked_scan(name, x64):
    A = SCANS[name]()
    keep = split_units(losses.UniformSplit(0.5), KEY, losses.units(A))
    key_x, key_y = jax.random.split(KEY)
    x, y = tree.random_normal(key_x, A.domain), tree.random_normal(key_y, A.range)

    @jax.jit
    def look(A, keep, x, y):
        part, rest = losses.restrict(A, keep), losses.restrict(A, complement(A, keep))
        seen = part(x)
        gram = part.gram(x), part.H(seen)
        adjoint = tree.dot(seen, y), tree.dot(x, part.H(y))
        whole = tree.add(seen, rest(x)), A(x)
        return (
            gram,
            adjoint,
            whole,
            (losses.restrict(part, keep)(x), seen),
            (seen, weigh(keep, A(x))),
        )

    for pair in look(A, keep, x, y):
        for got, want in zip(*map(jax.tree.leaves, pair), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", UNITS)
def test_units_are_what_the_scan_measures_together(name):
    shape, n = UNITS[name]
    rows = losses.units(SCANS[name]())
    assert (rows.shape, int(rows.sum())) == (shape, n)


def test_units_of_several_measurements_and_of_chosen_axes():
    assert [u.shape for u in losses.units(_stack())] == [(6, 1), (6, 1)]
    assert unit_axes(_stack()) == ((0,), (0,))
    assert losses.units(SCANS["parallel"](), axes=(0, 1)).shape == (6, 7)
    assert losses.units(SCANS["sense, lines"](), axes=(-2, -1)).sum() == 16


def test_masked_scans_stay_of_their_kind_and_keep_their_fast_gram():
    A = SCANS["sense"]()
    keep = losses.units(A) & (jnp.arange(6) < 3)
    part = losses.restrict(A, keep)
    assert isinstance(part, mri.Sense)
    assert part.mask.dtype == bool
    # Nothing is traced again for the part: same program, other arrays.
    assert jax.tree.structure(part) == jax.tree.structure(A)
    shots = losses.restrict(SCANS["shots"](), jnp.arange(4)[None, :, None] > 0)
    assert isinstance(shots, Composition)
    assert type(shots.outer.gram).__name__ == "Toeplitz"
    x = tree.random_normal(KEY, shots.domain)
    np.testing.assert_allclose(shots.gram(x), shots.H(shots(x)), atol=1e-3)
    each_coil = losses.restrict(A, jnp.ones((2, 4, 6), bool).at[0].set(False))
    assert bool(jnp.all(each_coil(jnp.ones((4, 6), complex))[0] == 0))


def test_a_nonlinear_scan_is_restricted():
    A = _nonlinear()
    keep = jnp.arange(6)[:, None] % 2 == 0
    x = jnp.full((4, 5), 0.1)
    np.testing.assert_allclose(losses.restrict(A, keep)(x), keep * A(x))


def test_a_mask_that_does_not_fit_is_refused():
    for name in ("parallel", "sense", "cartesian"):
        with pytest.raises(ValueError, match="`keep` has shapes"):
            losses.restrict(SCANS[name](), jnp.ones((3, 1, 1, 1), bool))


def test_count_and_unmasked():
    assert float(count(SCANS["sense"]())) == 2 * 2 * 16
    assert float(count(SCANS["cartesian, lines"]())) == 2 * 4 * 4
    assert float(count(SCANS["weighted views"]())) == 5 * 7
    for name in ("sense", "sense, lines", "cartesian", "cartesian, lines", "cartesian, padded"):
        A = SCANS[name]()
        x = jax.random.normal(KEY, A.domain.shape, complex)
        full = self_supervised.unmasked(A)(x)
        np.testing.assert_allclose(weigh(losses.units(A), full), A(x), atol=1e-6)
        assert float(jnp.min(jnp.abs(full))) > 0


SPLITS = {
    "uniform": losses.UniformSplit(0.3, centre=2),
    "density": losses.VariableDensitySplit(0.6, 4.0, centre=1),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_keep_with_their_probability(name):
    split, shape = SPLITS[name], (1, 8, 9)
    rows = jnp.ones(shape, bool).at[0, 0, 0].set(False)
    draws = jax.vmap(lambda k: split(k, rows))(jax.random.split(KEY, 2000))
    expected = jnp.where(rows, split.probability(shape), 0)
    error = np.abs(np.asarray(draws.mean(0) - expected))
    assert error.max() < 4.5 * 0.5 / np.sqrt(2000)
    assert bool(jnp.all(split.probability(shape)[0, 4, 4] == 1))
    # Unit by unit: the draws of two units are independent.
    a, b = (np.asarray(draws[:, 0, i, 1], float) for i in (2, 6))
    assert abs(np.mean(a * b) - a.mean() * b.mean()) < 4.5 * 0.25 / np.sqrt(2000)


def test_the_density_has_its_mean_and_falls_off():
    split = losses.VariableDensitySplit(0.7, 2.0)
    probability = split.probability((16, 20))
    np.testing.assert_allclose(probability.mean(), 0.3, atol=1e-5)
    assert float(probability.max()) <= 1
    along = np.asarray(probability[8, 10:])
    assert np.all(np.diff(along) <= 0)
    assert along[-1] < 0.5 * along[0]
    np.testing.assert_allclose(
        losses.VariableDensitySplit(0.0, 2.0).probability((5, 1)), 1.0, atol=1e-5
    )


def test_the_gaussian_split_holds_out_its_share_and_not_the_centre():
    split, shape = losses.GaussianSplit(0.4, width=0.2, centre=2), (16, 15)
    rows = jax.random.bernoulli(KEY, 0.7, shape)
    draws = jax.vmap(lambda k: split(k, rows))(jax.random.split(KEY, 500))
    held = np.asarray(rows & ~draws)
    assert np.all(held.sum((1, 2)) == round(0.4 * int(rows.sum())))
    assert not np.any(held & ~np.asarray(rows))
    assert not np.any(held[:, 7:9, 6:8])
    frequency = held.mean(0)
    near = frequency[4:12, 4:11][np.asarray(rows)[4:12, 4:11]].mean()
    far = frequency[[0, 1, -1]][np.asarray(rows)[[0, 1, -1]]].mean()
    assert near > 2 * far
    with pytest.raises(ValueError, match="GaussianSplit"):
        split.probability(shape)


def test_subsets_take_turns():
    rows = jnp.ones((12, 1), bool)
    draws = jax.vmap(lambda k: losses.SubsetSplit(4)(k, rows))(jax.random.split(KEY, 100))
    held = {tuple(np.flatnonzero(~d)) for d in np.asarray(draws[:, :, 0])}
    assert held == {(i, i + 4, i + 8) for i in range(4)}


def test_selected_rows_are_a_smaller_scan():
    rows = jnp.array([1, 3])
    for name in ("parallel", "weighted views", "shots"):
        A = 2.0 * SCANS[name]()
        x = tree.random_normal(KEY, A.domain)
        part = losses.select(A, rows)
        expected = select_data(A, A(x), rows)
        assert part.range.shape == expected.shape
        np.testing.assert_allclose(part(x), expected, rtol=1e-5, atol=1e-5)
    fan = ct.fan_beam(
        jnp.linspace(0, 6, 5), (4, 4), 6, source_origin=20.0, origin_detector=10.0, taps=4
    )
    x = jnp.ones((4, 4))
    np.testing.assert_allclose(losses.select(fan, rows)(x), fan(x)[rows], rtol=1e-6)
    with pytest.raises(ValueError, match="`restrict`"):
        losses.select(SCANS["sense"](), rows)


def test_interleaved_rows_are_all_rows_in_order():
    for i in range(3):
        part, rest = jax.jit(lambda i: interleaved(9, i, 3))(i)
        np.testing.assert_array_equal(part, np.arange(i, 9, 3))
        np.testing.assert_array_equal(rest, np.setdiff1d(np.arange(9), part))
    with pytest.raises(ValueError, match="does not divide"):
        interleaved(10, 0, 3)


def test_sampling_density_is_that_of_the_masks():
    draw = lambda k: mri.random_lines_mask(k, (1, 16), 4, calibration=2)  # noqa: E731
    density = losses.sampling_density(draw, KEY, n=500)
    np.testing.assert_allclose(density.sum(), 4.0, rtol=1e-5)
    np.testing.assert_allclose(density[0, 7:9], 1.0)
