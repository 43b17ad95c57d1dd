"""The loop of design: minima, projections, determinism, resumption, values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrecon.core import NotConvergedError, pytree
from jaxrecon.design._optimise import multi_start, optimise

KEY = jax.random.key(3)
SGD = optax.sgd(0.2)


def bowl(p, key, step):
    return jnp.sum((p - jnp.arange(3.0)) ** 2)


def noisy(p, key, step):
    return bowl(p, key, step) + jnp.sum(p * jax.random.normal(key, (3,)))


@pytest.fixture(scope="module")
def noisy_design():
    return optimise(noisy, jnp.zeros(3), n_steps=12, key=KEY, optimiser=optax.adam(0.1))


def test_finds_the_minimum_of_a_bowl():
    design = optimise(bowl, jnp.zeros(3), n_steps=60, key=KEY, optimiser=SGD)
    np.testing.assert_allclose(design.value, jnp.arange(3.0), atol=1e-5)
    losses = np.asarray(design.info.loss)
    assert losses[0] == 5.0
    assert (np.diff(losses) <= 1e-6).all()
    assert int(design.n_iter) == 60
    assert design.check() is design


def test_the_projection_holds_from_the_start():
    inside = lambda p: jnp.clip(p, 0.2, 1.5)  # noqa: E731
    options = {"n_steps": 40, "key": KEY, "optimiser": SGD, "project": inside}
    design = optimise(bowl, jnp.full(3, 9.0), record=lambda p: p, **options)
    np.testing.assert_allclose(design.value, [0.2, 1.0, 1.5], atol=1e-5)
    assert float(design.info.loss[0]) == pytest.approx(float(bowl(inside(jnp.full(3, 9.0)), 0, 0)))
    assert float(design.record.min()) >= 0.2
    assert float(design.record.max()) <= 1.5


def test_every_step_has_its_own_key_and_number():
    """The criterion is linear with a random slope: what was drawn can be read from the pattern."""
    steep = lambda p, key, step: p @ jax.random.normal(key, (3,)) * step  # noqa: E731
    options = {"n_steps": 4, "optimiser": optax.sgd(1.0), "record": lambda p: p}
    design = optimise(steep, jnp.zeros(3), key=KEY, **options)
    moves = -np.diff(np.vstack([np.zeros(3), design.record]), axis=0)
    draws = [i * jax.random.normal(jax.random.fold_in(KEY, i), (3,)) for i in range(4)]
    np.testing.assert_allclose(moves, draws, atol=1e-5)


def test_the_key_decides(noisy_design):
    options = {"n_steps": 12, "optimiser": optax.adam(0.1)}
    same = optimise(noisy, jnp.zeros(3), key=KEY, **options)
    other = optimise(noisy, jnp.zeros(3), key=jax.random.key(4), **options)
    assert (same.value == noisy_design.value).all()
    assert not (other.value == noisy_design.value).any()


def test_resumes_to_the_bit(noisy_design):
    options = {"key": KEY, "optimiser": optax.adam(0.1)}
    half = optimise(noisy, jnp.zeros(3), n_steps=5, **options)
    whole = optimise(noisy, half.value, n_steps=7, state=half.state, **options)
    assert (whole.value == noisy_design.value).all()
    np.testing.assert_array_equal(whole.info.loss, noisy_design.info.loss[5:])


def test_stops_at_nan_with_the_last_good_pattern():
    """The bowl's loss becomes NaN once p > 0.9: the pattern before is what remains."""
    broken = lambda p, key, step: jnp.where(p[0] > 0.9, jnp.nan, jnp.sum((p - 2) ** 2))  # noqa: E731
    options = {"n_steps": 20, "key": KEY, "optimiser": SGD, "record": lambda p: p}
    design = optimise(broken, jnp.zeros(2), **options)
    # 0, 0.8, 1.28: two steps with finite loss, the third meets NaN.
    np.testing.assert_allclose(design.value, [0.8, 0.8], atol=1e-6)
    assert int(design.n_iter) == 3
    with pytest.raises(NotConvergedError, match="not finite"):
        design.check()


@pytest.mark.parametrize("n_steps", [1, 2])
def test_the_last_pattern_is_looked_at_too(n_steps):
    broken = lambda p, key, step: jnp.where(p[0] > 0.9, jnp.nan, jnp.sum((p - 2) ** 2))  # noqa: E731
    design = optimise(broken, jnp.zeros(2), n_steps=n_steps, key=KEY, optimiser=SGD)
    np.testing.assert_allclose(design.value, [0.8, 0.8], atol=1e-6)
    assert bool(design.status.ok) == (n_steps == 1)


def test_a_gradient_that_is_not_finite_ends_the_run():
    root = lambda p, key, step: jnp.sum(jnp.sqrt(p))  # slope infinite at 0  # noqa: E731
    design = optimise(root, jnp.zeros(2), n_steps=5, key=KEY, optimiser=SGD)
    assert (design.value == 0).all()
    assert not bool(design.status.ok)


def test_only_numbers_are_optimised_and_complex_ones_descend():
    pattern = {"z": jnp.array([1.0 + 1.0j]), "lines": jnp.arange(3), "key": jax.random.key(1)}
    target = 2.0 - 1.0j
    loss = lambda p, key, step: jnp.sum(jnp.abs(p["z"] - target) ** 2)  # noqa: E731
    design = optimise(loss, pattern, n_steps=60, key=KEY, optimiser=SGD)
    np.testing.assert_allclose(design.value["z"], [target], atol=1e-5)
    assert (design.value["lines"] == jnp.arange(3)).all()
    assert design.value["key"] == jax.random.key(1)


@pytree
class Towards:
    """A criterion that carries data."""

    target: jax.Array

    def __call__(self, p, key, step):
        return jnp.sum((p - self.target) ** 2)


def test_a_criterion_with_data_compiles_once_and_runs_under_jit():
    traces = []

    def solve(target):
        traces.append(1)
        return optimise(Towards(target), jnp.zeros(2), n_steps=40, key=KEY, optimiser=SGD).value

    compiled = jax.jit(solve)
    for c in (1.0, 4.0):
        np.testing.assert_allclose(compiled(jnp.full(2, c)), [c, c], atol=1e-5)
    assert len(traces) == 1


def test_multi_start_keeps_the_best():
    """Valleys of different depth: one start in each, one at NaN."""
    wave = lambda p, key, step: jnp.cos(p) + 0.1 * p  # noqa: E731
    validate = lambda p, key: wave(p, key, 0)  # noqa: E731
    starts = jnp.array([3.0, -3.0, jnp.nan, -9.0])
    options = {"n_steps": 80, "key": KEY, "optimiser": SGD}
    found = multi_start(wave, starts, validate=validate, **options)
    assert int(found.index) == 3
    assert float(found.best.value) == found.designs.value[3]
    assert np.isinf(found.scores[2])
    assert not bool(found.designs.status.ok[2])
    alone = [optimise(wave, s, **options).value for s in starts[:2]]
    np.testing.assert_allclose(found.designs.value[:2], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "`n_steps` is 0"),
        ({"criterion": lambda p, key, step: p}, "`criterion` returns"),
        ({"pattern": jnp.arange(3)}, "`pattern` has no leaf"),
        ({"project": lambda p: p[:2]}, "`project` turns"),
    ],
)
def test_bad_input_is_named(options, message):
    arguments = {"criterion": bowl, "pattern": jnp.zeros(3), "n_steps": 2, "key": KEY} | options
    with pytest.raises(ValueError, match=message):
        optimise(**arguments)
