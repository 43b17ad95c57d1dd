"""Pattern and network trained together: against a loop by hand, projected, resumed, on devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.core import diagonal
from jaxrecon.design import Constant, Joint, joint_loss, joint_optimiser, masks
from jaxrecon.training import Trainer, create_state, train_step
from jaxrecon.training.input import ArraySource, Batches
from jaxrecon.training.losses import l2, supervised
from tests.devices import run_on_devices

pytestmark = pytest.mark.usefixtures("quick")
N, KEY = 6, jax.random.key(3)
OBJECTS = np.random.default_rng(0).standard_normal((6, N)).astype(np.float32)
RATES = {"pattern": 0.5, "network": 0.2}


class Gains(nnx.Module):
    """The smallest network: a gain for each position of what was measured."""

    def __init__(self):
        self.gain = nnx.Param(jnp.linspace(0.5, 1.5, N))

    def __call__(self, A, y):
        return self.gain[...] * A.H(y)


def cooled(pattern, key, step, x):
    """Nothing drawn: what is measured depends on the step alone, so that a loop can follow."""
    del key
    soft = masks.soft_top_k(pattern.logits, pattern.budget, 1 / (1.0 + step), pattern.fixed)
    A = diagonal(soft, x)
    return A, A(x)


def drawn(pattern, key, step, x):
    """A mask of each example's own."""
    A = diagonal(pattern.gumbel(key, 1 / (1.0 + step)), x)
    return A, A(x)


def weighted(pattern, key, step, x):
    del key, step
    A = diagonal(jnp.sqrt(pattern.weights() + 1e-3), x)
    return A, A(x)


def selection():
    return masks.rows(N, 3, fixed=(1,), start=np.linspace(0.2, 0.8, N))


def started(pattern=None, project=masks.project):
    joint = Joint(selection() if pattern is None else pattern, Gains())
    optimisers = {name: optax.sgd(rate) for name, rate in RATES.items()}
    return joint, joint_optimiser(joint, project=project, **optimisers)


def fitted(n_steps, scan=drawn, key=KEY, folder=None, mesh=None):
    joint, optimiser = started()
    loss = joint_loss(supervised(l2), scan)
    settings = {"folder": folder, "mesh": mesh, "progress": False, "save_every": 2}
    trainer = Trainer(loss=loss, optimiser=optimiser, n_steps=n_steps, **settings)
    return trainer.fit(joint, Batches(ArraySource(x=OBJECTS), 6, n_threads=1), key=key).net


def by_hand(n_steps, project=masks.project, cooling=True):
    """The same in a loop over plain arrays."""
    pattern, gain = selection(), jnp.linspace(0.5, 1.5, N)

    def mean_loss(pattern, gain, step):
        def one(x):
            A, y = cooled(pattern, None, step, x)
            return jnp.mean((gain * A.H(y) - x) ** 2)

        return jnp.mean(jax.vmap(one)(jnp.asarray(OBJECTS)))

    slopes = jax.jit(jax.grad(mean_loss, (0, 1), allow_int=True))
    for step in range(n_steps):
        slope, slope_gain = slopes(pattern, gain, jnp.asarray(step if cooling else 0))
        moved = pattern.logits - RATES["pattern"] * slope.logits
        pattern = project(masks.Selection(moved, pattern.fixed, pattern.budget, pattern.shape))
        gain = gain - RATES["network"] * slope_gain
    return np.concatenate([pattern.logits, gain])


def numbers(joint):
    return np.concatenate([joint.design().logits, joint.network.gain[...]])


def test_training_follows_the_loop_by_hand():
    """Both gradients, both rates, the projection of the pattern and the step that cools."""
    found, before = numbers(fitted(4, cooled)), numbers(started()[0])
    np.testing.assert_allclose(found, by_hand(4), rtol=2e-5, atol=1e-6)
    moved = np.abs(found - before)
    assert min(moved[:N].max(), moved[N:].max()) > 1e-2
    for wrong in (by_hand(4, cooling=False), by_hand(4, project=lambda p: p)):
        assert np.abs(wrong - found).max() > 1e-3


def test_the_budget_holds_after_every_step():
    """Also in batches whose size is no power of two, and only because of the projection."""
    bounded = masks.dose(N, 2.1, least=0.1, most=0.7)
    for project, holds in ((masks.project, True), (None, False)):
        joint, optimiser = started(bounded, project)
        graphdef, state = create_state(joint, optimiser, key=KEY)
        step = jax.jit(
            train_step(joint_loss(supervised(l2), weighted), optimiser), static_argnums=0
        )
        kept = []
        for _ in range(3):
            state, _ = step(graphdef, state, {"x": OBJECTS[:3]})
            now = nnx.merge(graphdef, state.params, state.others).design()
            w = now.weights()
            inside = (w >= 0.1 - 1e-6).all() & (w <= 0.7 + 1e-6).all()
            kept.append(bool(inside & (jnp.abs(w.sum() - 2.1) < 1e-5)))
            jax.tree.map(np.testing.assert_array_equal, now.bounds, bounded.bounds)
        assert kept == 3 * [holds]
        assert np.abs(now.weights() - bounded.weights()).max() > 1e-2


def test_the_key_decides_and_a_resumed_run_cools_on(tmp_path):
    trained = fitted(4)
    once = numbers(trained)
    found = jax.vmap(trained.design().sample)(jax.random.split(KEY, 20))
    assert (found.sum(1) == 3).all()
    assert found[:, 1].all()
    assert np.abs(numbers(fitted(4, key=jax.random.key(4))) - once).max() > 1e-3
    fitted(2, folder=tmp_path)
    resumed = fitted(4, folder=tmp_path)
    np.testing.assert_array_equal(numbers(resumed), once)
    assert int(resumed.step[...]) == 4


def test_either_of_the_two_may_be_frozen():
    joint, _ = started()
    options = {"n_steps": 2, "progress": False, "loss": joint_loss(supervised(l2), cooled)}
    data = lambda: Batches(ArraySource(x=OBJECTS), 3, n_threads=1)  # noqa: E731
    alone = joint_optimiser(joint, pattern=optax.sgd(0.5), project=masks.project)
    for frozen, part in ((slice(N, None), "pattern"), (slice(0, N), "network")):
        optimiser = alone if part == "pattern" else started()[1]
        settings = {"trainable": nnx.PathContains(part), "optimiser": optimiser}
        found = numbers(Trainer(**settings, **options).fit(joint, data(), key=KEY).net)
        change = np.abs(found - numbers(joint))
        assert change[frozen].max() == 0
        assert change.max() > 1e-3
    with pytest.raises(ValueError, match="`network` is None"):
        Trainer(optimiser=alone, **options).fit(joint, data(), key=KEY)


def test_only_numbers_that_are_free_are_trained():
    pattern = {"a": jnp.ones(2), "b": Constant(jnp.ones(3)), "c": jnp.arange(2), "d": jnp.ones(1)}
    joint = Joint(pattern, Gains())
    params = nnx.to_pure_dict(nnx.state(joint, nnx.Param))
    assert [p.shape for p in params["pattern"].values()] == [(2,), (1,)]
    assert jax.tree.structure(joint.design()) == jax.tree.structure(pattern)
    assert Joint({"a": 1.0, "c": 2}, Gains()).design()["a"] == 1
    with pytest.raises(ValueError, match="`pattern` has no leaf"):
        Joint({"c": jnp.arange(2)}, Gains())


DEVICES = """
import numpy as np
from jaxrecon.training import data_mesh
from tests.design.test_joint import fitted, numbers, started

one, two = numbers(fitted(5)), numbers(fitted(5, mesh=data_mesh(2)))
np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
assert np.abs(numbers(started()[0]) - one).max() > 1e-3
"""


def test_two_devices_train_as_one():
    run_on_devices(DEVICES, 2)
