"""Games, the gradient penalty in closed form, and the alternating step by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.core import identity
from jaxrecon.training import losses
from tests.losses.toys import check_gradient

KEY = jax.random.key(2)
SHAPE = (2, 3)
REAL, FAKE = jnp.array([0.5, 2.0]), jnp.array([-3.0, 0.5])


class Gain(nnx.Module):
    """A reconstructor: gain · y."""

    def __init__(self, gain):
        self.gain = nnx.Param(jnp.asarray(gain, float))

    def __call__(self, A, y):
        return self.gain[...] * A.H(y)


class Patches(nnx.Module):
    """A critic whose scores are a multiple of every pixel's first channel, and a bias."""

    def __init__(self, slope, bias=0.1):
        self.slope = nnx.Param(jnp.asarray(slope, float))
        self.bias = nnx.Param(jnp.asarray(bias, float))

    def __call__(self, x):
        return self.slope[...] * x[..., 0] + self.bias[...]


def test_games_by_hand():
    least, hinge, earth = losses.LeastSquaresGame(), losses.HingeGame(), losses.WassersteinGame()
    np.testing.assert_allclose(least.critic(REAL, FAKE), (0.25 + 1) / 4 + (9 + 0.25) / 4)
    np.testing.assert_allclose(least.reconstructor(FAKE), (16 + 0.25) / 4)
    np.testing.assert_allclose(hinge.critic(REAL, FAKE), 0.25 + 0.75)
    np.testing.assert_allclose(hinge.reconstructor(FAKE), 1.25)
    np.testing.assert_allclose(earth.critic(REAL, FAKE), -1.25 - 1.25)
    np.testing.assert_allclose(earth.reconstructor(FAKE), 1.25)


@pytest.mark.parametrize("dtype", [float, complex])
def test_penalty_of_a_linear_critic_in_closed_form(dtype, x64):
    w = jax.random.normal(KEY, SHAPE, dtype)
    critic = lambda x: jnp.sum((jnp.conj(w) * x).real)  # noqa: E731
    real, fake = jnp.ones(SHAPE, dtype), jnp.zeros(SHAPE, dtype)
    expected = (jnp.linalg.norm(w) - 1) ** 2
    np.testing.assert_allclose(losses.gradient_penalty(critic, real, fake, KEY), expected)
    game = losses.WassersteinGame(7.0)
    np.testing.assert_allclose(game.penalty(critic, real, fake, KEY), 7 * expected)
    assert float(losses.LeastSquaresGame().penalty(critic, real, fake, KEY)) == 0
    # Scores of patches: their mean is the critic.
    patches = lambda x: 2 * x.real  # noqa: E731
    expected = (2 / np.sqrt(real.size) - 1) ** 2
    np.testing.assert_allclose(losses.gradient_penalty(patches, real, fake, KEY), expected)


def test_penalty_lies_between_the_two_images_and_differentiates(x64):
    real, fake = jnp.full(SHAPE, 2.0), jnp.full(SHAPE, 1.0)
    norm = np.sqrt(real.size)
    # D = ½‖x‖² has the slope x itself: the penalty shows where the point lies.
    slope = lambda k: losses.gradient_penalty(  # noqa: E731
        lambda x: 0.5 * jnp.sum(x**2), real, fake, k, target=0.0
    )
    places = np.sqrt(jax.vmap(slope)(jax.random.split(KEY, 200))) / norm
    assert places.min() > 1
    assert places.max() < 2
    assert places.max() - places.min() > 0.9
    weights = jax.random.normal(KEY, SHAPE)
    penalty = lambda w: losses.gradient_penalty(  # noqa: E731
        lambda x: jnp.sum(jnp.tanh(w * x)), real, fake, KEY
    )
    check_gradient(penalty, weights)


def batch_of(n=2):
    key_x, key_y = jax.random.split(KEY)
    x = 1 + jax.random.uniform(key_x, (n, *SHAPE))
    y = x + 0.1 * jax.random.normal(key_y, x.shape)
    A = jax.vmap(lambda _: identity(jax.ShapeDtypeStruct(SHAPE, x.dtype)))(x)
    return {"x": x, "y": y, "A": A}


def written_out(game, batch, net, critic, n_critic, rates, weight):
    """The step again, in plain arrays."""
    x, y = batch["x"], batch["y"]

    def critic_loss(p, a):
        return game.critic(p[0] * x + p[1], p[0] * a * y + p[1])

    for _ in range(n_critic):
        critic = critic - rates[1] * jax.grad(critic_loss)(critic, net)

    def loss(a):
        scores = critic[0] * a * y + critic[1]
        return jnp.mean(jnp.abs(a * y - x)) + weight * game.reconstructor(scores)

    return net - rates[0] * jax.grad(loss)(net), critic


@pytest.mark.parametrize("n_critic", [1, 3])
@pytest.mark.parametrize("game", [losses.LeastSquaresGame(), losses.HingeGame()])
def test_the_alternating_step_is_that_written_out(game, n_critic, x64):
    rates = (0.05, 0.2)
    step = losses.adversarial_step(
        optax.sgd(rates[0]), optax.sgd(rates[1]), game=game, weight=0.3, n_critic=n_critic
    )
    graphs, state = step.init(Gain(0.8), Patches(0.4), key=KEY)
    batch = batch_of()
    state, metrics = jax.jit(step, static_argnums=0)(graphs, state, batch)
    net, critic = written_out(
        game, batch, jnp.asarray(0.8), jnp.array([0.4, 0.1]), n_critic, rates, 0.3
    )
    got = jax.tree.leaves((state.critic.params["slope"], state.critic.params["bias"]))
    np.testing.assert_allclose(jnp.stack(got), critic, rtol=1e-12)
    np.testing.assert_allclose(state.reconstructor.params["gain"], net, rtol=1e-12)
    assert (int(state.critic.step), int(state.reconstructor.step)) == (n_critic, 1)
    assert {"loss", "game", "content", "critic.loss", "critic.real"} <= set(metrics)


def test_a_wasserstein_step_penalises_slopes_and_needs_no_truth(x64):
    game = losses.WassersteinGame(10.0)
    step = losses.adversarial_step(optax.sgd(0.0), optax.sgd(0.1), game=game, content=None)
    graphs, state = step.init(Gain(0.8), Patches(3.0), key=KEY)
    batch = batch_of()
    batch["real"] = batch.pop("x")
    after, metrics = step(graphs, state, batch)
    x, y = batch["real"], batch["y"]
    root = np.sqrt(6.0)
    # D = mean(v x) has a slope of length |v|/√6 everywhere.
    slope = 0.8 * y.mean() - x.mean() + 10 * 2 * (3.0 / root - 1) / root
    np.testing.assert_allclose(after.critic.params["slope"], 3.0 - 0.1 * slope, rtol=1e-10)
    np.testing.assert_allclose(after.reconstructor.params["gain"], 0.8)
    np.testing.assert_allclose(metrics["critic.penalty"], 10 * (3.0 / root - 1) ** 2, rtol=1e-10)
    assert "content" not in metrics


def test_the_step_is_traced_once_and_keeps_an_average(x64):
    step = losses.adversarial_step(optax.sgd(0.1), optax.sgd(0.1), ema_decay=0.5)
    graphs, state = step.init(Gain(0.8), Patches(0.4), key=KEY)
    count = 0

    def counted(graphs, state, batch):
        nonlocal count
        count += 1
        return step(graphs, state, batch)

    jitted = jax.jit(counted, static_argnums=0)
    for _ in range(3):
        state, _ = jitted(graphs, state, batch_of())
    assert count == 1
    gains = state.reconstructor.params["gain"], state.reconstructor.ema["gain"]
    assert 0 < abs(float(gains[0] - gains[1])) < abs(float(gains[0]) - 0.8)


def test_refusals():
    with pytest.raises(ValueError, match="`n_critic`"):
        losses.adversarial_step(optax.sgd(1.0), optax.sgd(1.0), n_critic=0)
    step = losses.adversarial_step(optax.sgd(0.1), optax.sgd(0.1))
    graphs, state = step.init(Gain(0.8), Patches(0.4), key=KEY)
    batch = batch_of()
    del batch["x"]
    with pytest.raises(ValueError, match=r"\['x'\]"):
        step(graphs, state, batch)
