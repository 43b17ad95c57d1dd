"""The step does what its formulas say: gradient descent on a mean over examples with keys."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.core import pytree
from jaxrecon.training import adamw, create_state, evaluate_step, network, train_step
from jaxrecon.training._state import average
from jaxrecon.training._step import _each, _merge_others, example_keys
from tests.training.toys import Toy, denoising, images, restoration

BATCH = {"image": images(4)}


def toy(**options):
    return Toy(**options, rngs=nnx.Rngs(params=0, dropout=1))


def start(net, optimiser, **options):
    return create_state(net, optimiser, key=jax.random.key(7), **options)


def jitted(step):
    return jax.jit(step, static_argnums=0)


def largest_difference(a, b):
    differences = jax.tree.map(lambda x, y: float(np.max(np.abs(np.asarray(x) - y))), a, b)
    return max(jax.tree.leaves(differences))


def test_a_step_is_gradient_descent_on_the_mean(x64):
    net = toy(param_dtype=jnp.float64)
    batch = {"image": images(3, dtype=np.float64)}
    graphdef, state = start(net, optax.sgd(0.1))
    after, metrics = jitted(train_step(restoration, optax.sgd(0.1)))(graphdef, state, batch)

    def mean_loss(params):
        outputs = nnx.merge(graphdef, params, state.others)(jnp.asarray(batch["image"]))
        return jnp.mean((outputs - 0.5 * batch["image"]) ** 2)

    value, gradient = jax.value_and_grad(mean_loss)(state.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    assert largest_difference(after.params, expected) < 1e-14
    assert abs(float(metrics["loss"]) - float(value)) < 1e-14
    assert abs(float(metrics["grad_norm"]) - float(optax.tree.norm(gradient))) < 1e-14
    assert int(after.step) == 1


def test_accumulated_parts_are_one_large_batch(x64):
    net = toy(param_dtype=jnp.float64)
    batch = {"image": images(6, dtype=np.float64)}
    graphdef, state = start(net, optax.sgd(0.1))
    whole, parts = (
        jitted(train_step(denoising, optax.sgd(0.1), n_parts=n))(graphdef, state, batch)
        for n in (1, 3)
    )
    assert largest_difference(whole[0].params, parts[0].params) < 1e-14
    assert abs(float(whole[1]["rmse"]) - float(parts[1]["rmse"])) < 1e-14
    with pytest.raises(ValueError, match="`batch` has 6 examples, which 4 parts"):
        train_step(denoising, optax.sgd(0.1), n_parts=4)(graphdef, state, batch)


def test_the_loop_over_parts_for_accelerators_is_the_same(x64, monkeypatch):
    net = toy(param_dtype=jnp.float64)
    batch = {"image": images(6, dtype=np.float64)}
    graphdef, state = start(net, optax.sgd(0.1))
    step = train_step(restoration, optax.sgd(0.1), n_parts=3)
    written_out = jitted(step)(graphdef, state, batch)[0]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    looped = jitted(train_step(restoration, optax.sgd(0.1), n_parts=3))(graphdef, state, batch)[0]
    assert largest_difference(written_out.params, looped.params) < 1e-14


def test_the_average_follows_its_formula():
    old, new = {"w": jnp.float32(1.0)}, {"w": jnp.float32(3.0)}
    assert float(average(old, new, 0.9, jnp.int32(0))["w"]) == pytest.approx(0.1 * 1 + 0.9 * 3)
    assert float(average(old, new, 0.9, jnp.int32(10**6))["w"]) == pytest.approx(0.9 * 1 + 0.1 * 3)
    graphdef, state = start(toy(), optax.sgd(0.1), ema=True)
    step = jitted(train_step(denoising, optax.sgd(0.1), ema_decay=0.5))
    after, _ = step(graphdef, state, BATCH)
    by_hand = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, state.params, after.params)
    assert largest_difference(after.ema, by_hand) < 1e-7
    averaged = network(graphdef, after)
    assert (
        float(jnp.max(jnp.abs(averaged.layers[0].kernel[...] - by_hand["layers"][0]["kernel"])))
        < 1e-7
    )
    with pytest.raises(ValueError, match="`state` has a moving average, but `ema_decay` is None"):
        train_step(denoising, optax.sgd(0.1))(graphdef, state, BATCH)


def test_batch_statistics_are_of_the_whole_batch_and_kept():
    net = toy(norm=True)
    graphdef, state = start(net, optax.sgd(0.0))
    after, _ = jitted(train_step(restoration, optax.sgd(0.0)))(graphdef, state, BATCH)
    features = net.layers[0](jnp.asarray(BATCH["image"])[..., None])
    mean, variance = features.mean((0, 1, 2)), features.var((0, 1, 2))
    np.testing.assert_allclose(after.others["norm"]["mean"], 0.01 * mean, atol=1e-6)
    np.testing.assert_allclose(after.others["norm"]["var"], 0.99 + 0.01 * variance, atol=1e-6)
    # The evaluation uses them, and leaves them alone: an example's loss does not depend on others.
    evaluate = jitted(evaluate_step(restoration))
    sums, count = evaluate(graphdef, after, BATCH)
    ones = [evaluate(graphdef, after, {"image": BATCH["image"][i : i + 1]})[0] for i in range(4)]
    assert float(count) == 4
    assert float(sums["loss"]) == pytest.approx(sum(float(s["loss"]) for s in ones), rel=1e-5)


def test_dropout_is_drawn_for_each_example_and_off_in_evaluations():
    def outputs(net, example, key):
        del key
        return jnp.sum(net(example["image"])), {}

    same = {"image": np.repeat(BATCH["image"][:1], 4, 0)}
    graphdef, state = start(toy(rate=0.5), optax.sgd(0.0))

    def each(step, *, training):
        keys = example_keys(state, 4, step)
        options = {"mesh": None, "training": training}
        return _each(outputs, graphdef, state.params, state.others, same, keys, **options)[0]

    each = jax.jit(each, static_argnames="training")
    first = np.asarray(each(0, training=True))
    assert len(set(first.tolist())) == 4
    np.testing.assert_array_equal(first, each(0, training=True))
    assert not set(first.tolist()) & set(np.asarray(each(1, training=True)).tolist())
    assert len(set(np.asarray(each(0, training=False)).tolist())) == 1


def test_keys_belong_to_examples_not_to_batches(x64):
    graphdef, state = start(toy(param_dtype=jnp.float64), optax.sgd(0.0))
    step = jitted(train_step(denoising, optax.sgd(0.0)))
    data = images(8, dtype=np.float64)
    large = step(graphdef, state, {"image": data})[1]["loss"]
    state, first = step(graphdef, state, {"image": data[:4]})
    _, second = step(graphdef, state, {"image": data[4:]})
    assert float(large) == pytest.approx(float(first["loss"] + second["loss"]) / 2, rel=1e-13)


def test_the_evaluation_counts_valid_examples_only():
    graphdef, state = start(toy(), optax.sgd(0.1))
    evaluate = jitted(evaluate_step(denoising))
    filled = {"image": np.concatenate([BATCH["image"][:3], np.full((1, 6, 5), np.nan, np.float32)])}
    sums, count = evaluate(graphdef, state, filled, np.array([True, True, True, False]))
    expected, _ = evaluate(graphdef, state, {"image": BATCH["image"][:3]})
    assert float(count) == 3
    assert float(sums["rmse"]) == pytest.approx(float(expected["rmse"]), rel=1e-6)


def test_a_gradient_that_is_not_finite_changes_nothing_but_the_step():
    graphdef, state = start(toy(norm=True, rate=0.1), optax.adam(0.1), ema=True)
    step = jitted(train_step(denoising, optax.adam(0.1), ema_decay=0.9))
    after, metrics = step(graphdef, state, {"image": np.full((2, 6, 5), np.nan, np.float32)})
    assert float(metrics["skipped"]) == 1
    assert int(after.step) == 1
    for name in ("params", "opt_state", "ema"):
        assert largest_difference(getattr(after, name), getattr(state, name)) == 0
    assert largest_difference(after.others["norm"], state.others["norm"]) == 0


def test_weights_stay_in_single_precision_under_bfloat16_activations():
    graphdef, state = start(toy(dtype=jnp.bfloat16), optax.adam(0.01))
    after, metrics = jitted(train_step(denoising, optax.adam(0.01)))(graphdef, state, BATCH)
    assert {x.dtype.name for x in jax.tree.leaves(after.params)} == {"float32"}
    assert metrics["loss"].dtype == jnp.float32
    wide = jitted(train_step(denoising, optax.adam(0.01)))
    exact = wide(*start(toy(), optax.adam(0.01)), BATCH)[1]["loss"]
    assert float(metrics["loss"]) == pytest.approx(float(exact), rel=0.02)


def test_complex_weights_descend():
    class Gain(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.asarray(0.0 + 0.0j))

    def loss(net, example, key):
        return jnp.abs(net.gain[...] * example["x"] - (1 + 2j)) ** 2, {}

    graphdef, state = start(Gain(), optax.sgd(0.25))
    step = jitted(train_step(loss, optax.sgd(0.25)))
    for _ in range(30):
        state, _ = step(graphdef, state, {"x": np.ones(1, np.complex64)})
    np.testing.assert_allclose(state.params["gain"], 1 + 2j, atol=1e-4)


def test_arrays_of_a_loss_are_data():
    @pytree
    class Weighted:
        weight: jax.Array

        def __call__(self, net, example, key):
            return self.weight * restoration(net, example, key)[0], {}

    n_traces = 0

    def run(step, graphdef, state):
        nonlocal n_traces
        n_traces += 1
        return step(graphdef, state, BATCH)[1]["loss"]

    compiled = jax.jit(run, static_argnums=1)
    graphdef, state = start(toy(), optax.sgd(0.1))
    optimiser = optax.sgd(0.1)
    one, two = (
        compiled(train_step(Weighted(jnp.float32(w)), optimiser), graphdef, state) for w in (1, 2)
    )
    assert float(two) == pytest.approx(2 * float(one))
    assert n_traces == 1


def test_frozen_weights_stay():
    first_layer = nnx.All(nnx.Param, nnx.PathContains("layers"), nnx.PathContains(0))
    graphdef, state = start(toy(), optax.sgd(0.1), trainable=first_layer)
    assert set(state.params) == {"layers"}
    assert set(state.params["layers"]) == {0}
    after, _ = jitted(train_step(restoration, optax.sgd(0.1)))(graphdef, state, BATCH)
    assert largest_difference(after.others["layers"], state.others["layers"]) == 0
    assert largest_difference(after.params, state.params) > 0
    with pytest.raises(ValueError, match="no arrays that match `trainable`"):
        start(toy(), optax.sgd(0.1), trainable=nnx.BatchStat)


def test_donation_leaves_the_network_given_whole():
    net = toy()
    graphdef, state = start(net, optax.adam(0.1), ema=True)
    step = train_step(denoising, optax.adam(0.1), ema_decay=0.9)
    jax.jit(step, static_argnums=0, donate_argnums=1)(graphdef, state, BATCH)
    assert np.isfinite(np.asarray(net(jnp.asarray(BATCH["image"])))).all()


def test_clipping_bounds_the_update():
    gradient = {"kernel": jnp.full((2, 2), 100.0)}
    clipped, _ = optax.clip_by_global_norm(1.0).update(gradient, optax.EmptyState())
    optimiser = adamw(0.1, clip=1.0)
    state = optimiser.init(gradient)
    a, _ = optimiser.update(gradient, state, gradient)
    b, _ = adamw(0.1, clip=None).update(clipped, adamw(0.1, clip=None).init(gradient), gradient)
    assert largest_difference(a, b) < 1e-7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_parts": 0}, "`n_parts` is 0"),
        ({"ema_decay": 1.0}, "`ema_decay` is 1.0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        train_step(denoising, optax.sgd(0.1), **change)


def test_bad_batches_and_losses_are_refused():
    graphdef, state = start(toy(), optax.sgd(0.1))
    step = train_step(lambda net, example, key: (net(example["image"]), {}), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"`loss` gave an array of shape \(6, 5\)"):
        step(graphdef, state, BATCH)
    with pytest.raises(ValueError, match="`batch` has leading axes"):
        step(graphdef, state, {"a": np.zeros((2, 3)), "b": np.zeros(3)})


def test_arrays_that_nothing_changes_stay_to_the_bit():
    """In batches of three as well, and where they are infinite."""
    old = {
        "same": jnp.array([0.1, -jnp.inf, jnp.nan]),
        "moved": jnp.zeros(2),
        "count": jnp.array(1),
    }
    new = {
        "same": jnp.stack(3 * [old["same"]]),
        "moved": jnp.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]),
    }
    found = _merge_others(old, new | {"count": jnp.array([4, 4, 4])})
    np.testing.assert_array_equal(found["same"], old["same"])
    np.testing.assert_array_equal(found["moved"], [3.0, 2.0])
    assert found["count"] == 4
