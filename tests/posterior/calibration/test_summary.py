"""Summaries and streaming moments against NumPy, and intervals at their nominal level."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxrecon.posterior import calibration as C

RNG = np.random.default_rng(3)
REAL = jnp.asarray(RNG.standard_normal((24, 3, 2)), jnp.float32)
COMPLEX = jnp.asarray(REAL + 1j * RNG.exponential(size=REAL.shape), jnp.complex64)
LEVELS = (0.05, 0.3, 0.95)

summarise = jax.jit(functools.partial(C.summarise, levels=LEVELS), static_argnames="of")
quantiles = functools.partial(np.quantile, q=LEVELS, axis=0, method="weibull")


@pytest.mark.parametrize("samples", [REAL, COMPLEX], ids=["real", "complex"])
def test_mean_and_standard_deviation(samples):
    found = summarise(samples)
    np.testing.assert_allclose(found.mean, np.mean(samples, 0), rtol=1e-5)
    np.testing.assert_allclose(found.std, np.std(samples, 0, ddof=1), rtol=1e-5)


def test_quantiles_of_magnitudes_and_of_parts():
    found = summarise(REAL)
    np.testing.assert_allclose(found.quantiles, quantiles(np.array(REAL)), atol=1e-6)
    found = summarise(COMPLEX)
    np.testing.assert_allclose(found.quantiles, quantiles(np.abs(COMPLEX)), atol=1e-6)
    found = summarise(COMPLEX, of="parts")
    np.testing.assert_allclose(found.lower.imag, quantiles(np.imag(COMPLEX))[0], atol=1e-6)
    np.testing.assert_allclose(found.upper.real, quantiles(np.real(COMPLEX))[2], atol=1e-6)


def test_intervals_hold_a_new_draw_as_often_as_they_say_and_numpys_do_not():
    draws = RNG.standard_normal((20, 20000))
    lower, upper = C.sample_quantiles(jnp.asarray(draws[1:]), (0.05, 0.95))
    assert np.mean((lower <= draws[0]) & (draws[0] <= upper)) == pytest.approx(0.9, abs=0.007)
    lower, upper = np.quantile(draws[1:], (0.05, 0.95), axis=0)
    assert np.mean((lower <= draws[0]) & (draws[0] <= upper)) < 0.85


def test_nan_is_seen():
    found = summarise(REAL.at[3, 0, 0].set(jnp.nan))
    for map_ in found.quantiles:
        assert np.isnan(map_[0, 0])
        assert np.all(np.isfinite(map_[1]))


def test_summaries_under_jit_and_vmap():
    expected = C.summarise(REAL, levels=LEVELS)
    found = jax.jit(jax.vmap(summarise, in_axes=1))(REAL)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-5)
    np.testing.assert_allclose(found.upper, expected.upper, rtol=1e-5)


@pytest.mark.parametrize(
    ("levels", "message"),
    [((0.01, 0.99), "draw at least 99, or stay between 1/25"), ((0.5, 0.1), "ascending"), ((), "")],
)
def test_levels_that_cannot_be_had(levels, message):
    with pytest.raises(ValueError, match=f"`levels`.*{message}"):
        C.summarise(REAL, levels=levels)


def test_one_sample_is_no_distribution():
    with pytest.raises(ValueError, match=r"`samples` has 1 .* at least 2"):
        C.summarise(REAL[:1])
    with pytest.raises(ValueError, match="`of` is 'phase'"):
        C.summarise(COMPLEX, of="phase")


# ------------------------------------------------------------------------------------------ moments


def _close(found, samples, rtol=1e-4):
    assert int(found.count) == len(samples)
    exact = np.asarray(samples, np.result_type(samples.dtype, np.float64))
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.std, exact.std(0, ddof=1), rtol=rtol)


def _streamed(samples):
    step = lambda total, x: (C.add_sample(total, x), None)  # noqa: E731
    return jax.lax.scan(step, C.no_moments(samples[0]), samples)[0]


@pytest.mark.parametrize("samples", [REAL, COMPLEX], ids=["real", "complex"])
def test_moments_streamed_and_merged(samples):
    _close(jax.jit(_streamed)(samples), samples)
    _close(jax.jit(_in_parts)(samples), samples)


def _in_parts(samples):
    parts = [C.moments(samples[i:j]) for i, j in ((0, 1), (1, 9), (9, 24))]
    return functools.reduce(C.merge_moments, parts, C.no_moments(samples[0]))


def test_a_small_variance_survives_a_large_mean_and_not_in_sums_of_squares():
    samples = 1e4 + REAL
    _close(jax.jit(_streamed)(samples), samples, rtol=2e-3)
    naive = np.mean(samples**2, 0) - np.mean(samples, 0) ** 2
    assert np.abs(naive / np.var(np.float64(samples), 0) - 1).max() > 0.5


def test_moments_of_too_few():
    empty = C.no_moments(REAL[0])
    assert np.all(np.isnan(C.merge_moments(empty, empty).std))
    assert np.all(np.isnan(C.moments(REAL[:1]).std))


def test_moments_shared_over_devices():
    share = lambda x: C.shared_moments(C.moments(x), "part")  # noqa: E731
    chunks = REAL.reshape(4, 6, 3, 2)
    found = jax.jit(jax.vmap(share, axis_name="part"))(chunks)
    _close(jax.tree.map(lambda leaf: leaf[1], found), REAL)
    mesh = jax.make_mesh((1,), ("part",), axis_types=(jax.sharding.AxisType.Auto,))
    over_devices = jax.shard_map(share, mesh=mesh, in_specs=P("part"), out_specs=P())
    _close(jax.jit(over_devices)(REAL), REAL)
