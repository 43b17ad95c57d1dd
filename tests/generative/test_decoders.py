"""Generators of images: what they are made of, flows by brute force, autoencoders, training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import logsumexp

from jaxrecon.nets.generative import (
    DCGAN,
    VAE,
    DeepDecoder,
    ImageGenerator,
    PatchFlow,
    PatchPrior,
    VAEDecoder,
    all_patches,
    patches_at,
    random_patches,
    reparametrised,
)
from jaxrecon.nets.layers import to_channels
from jaxrecon.training.losses import LeastSquaresGame, adversarial_step
from jaxrecon.training.losses.generative import (
    ELBO,
    Generation,
    PatchLikelihood,
    gaussian_divergence,
    latent_batch,
)

pytestmark = pytest.mark.usefixtures("quick")
KEYS = jax.random.split(jax.random.key(91), 8)


def filled(make, seed=0, scale=0.5):
    """A network with random numbers in place of its own, which take long to compile."""
    draw = np.random.default_rng(seed)
    net = nnx.eval_shape(make)
    return jax.tree.map(lambda s: jnp.asarray(scale * draw.normal(size=s.shape)), net)


def flow(**options):
    make = functools.partial(PatchFlow, 2, **{"width": 5, "depth": 3} | options)
    return filled(lambda: make(rngs=nnx.Rngs(0)))


# ----------------------------------------------------------------------------------------- decoders


def test_the_deep_decoder_is_its_formula(x64):
    """Written out in numpy: mix, interpolate, ReLU, normalise; one level, and full resolution."""
    net = filled(lambda: DeepDecoder(3, 2, width=4, depth=1, rngs=nnx.Rngs(0)))
    x = np.random.default_rng(1).normal(size=(2, 3, 3))

    def doubled(a, axis):
        n = a.shape[axis]
        at = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        low = np.minimum(np.floor(at).astype(int), n - 2)
        shape = [-1 if i == axis else 1 for i in range(a.ndim)]
        share = (at - low).reshape(shape)
        return (1 - share) * a.take(low, axis) + share * a.take(low + 1, axis)

    def normed(a, norm):
        a = np.maximum(a, 0)
        a = (a - a.mean((0, 1))) / np.sqrt(a.var((0, 1)) + 1e-5)
        return a * np.asarray(norm.layer.scale) + np.asarray(norm.layer.bias)

    h = x @ np.asarray(net.convs[0].kernel)[0, 0]
    h = normed(doubled(doubled(h, 0), 1), net.norms[0])
    h = normed(h @ np.asarray(net.convs[1].kernel)[0, 0], net.norms[1])
    expected = h @ np.asarray(net.last.kernel)[0, 0] + np.asarray(net.last.bias)
    np.testing.assert_allclose(net(jnp.asarray(x)), expected, rtol=1e-10)
    image = ImageGenerator(net, jnp.zeros((3, 5), complex))(jnp.asarray(x))
    middle = expected[0:3, 0:5]
    np.testing.assert_allclose(image, middle[..., 0] + 1j * middle[..., 1], rtol=1e-10)
    with pytest.raises(ValueError, match="`net` makes"):
        ImageGenerator(net, jnp.zeros((5, 5), complex))(jnp.asarray(x))


def test_the_layers_of_a_generator_compose_to_it(x64):
    G = filled(lambda: DCGAN(3, 1, start=(2, 3), width=2, depth=2, rngs=nnx.Rngs(0)))
    z = jax.random.normal(KEYS[0], (4, 3))
    features = z
    for layer in G.layers:
        features = layer(features)
    np.testing.assert_allclose(G(z), features)
    assert features.shape == (4, 8, 12, 1)


# ------------------------------------------------------------------------------------------- flows


def test_a_flows_density_is_the_change_of_variables(x64):
    """log N(T(p)) + log |det ∂T/∂p|, with the Jacobian matrix by brute force."""
    net = flow(n_channels=2)
    patches = jax.random.normal(KEYS[0], (3, 8))
    densities, latents = jax.jit(lambda p: (net.log_density(p), net(p)))(patches)
    jacobians = jax.jit(jax.vmap(jax.jacrev(net)))(patches)
    for density, z, jacobian in zip(*map(np.asarray, (densities, latents, jacobians)), strict=True):
        sign, volume = np.linalg.slogdet(jacobian)
        normal = -0.5 * np.sum(np.square(z)) - 4 * np.log(2 * np.pi)
        np.testing.assert_allclose(density, normal + volume, rtol=1e-10)
        assert sign != 0
        assert np.abs(jacobian - np.round(jacobian)).max() > 0.05  # not a change of order alone


def test_a_flow_is_inverted_exactly_and_integrates_to_one(x64):
    net = flow(n_axes=1, width=6, limit=0.5)
    z = jax.random.normal(KEYS[1], (50, 2))
    there, back = jax.jit(net), jax.jit(net.inverse)
    np.testing.assert_allclose(there(back(z)), z, atol=1e-12)
    np.testing.assert_allclose(back(there(z)), z, atol=1e-12)
    axis = np.linspace(-25, 25, 1001)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1)
    total = np.exp(logsumexp(jax.jit(net.log_density)(grid))) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(total, 1, atol=2e-3)
    draws = net.sample(KEYS[2], (5,))
    assert draws.shape == (5, 2)
    with pytest.raises(ValueError, match="`x` has shape"):
        net(jnp.zeros(3))


@pytest.mark.parametrize("dtype", [float, complex])
def test_the_patch_prior_is_the_mean_over_a_loop_of_patches(dtype, x64):
    net = flow(n_channels=2 if dtype is complex else 1)
    x = jax.random.normal(KEYS[3], (4, 5), dtype)
    wide = to_channels(x)
    loop = [wide[i : i + 2, j : j + 2].ravel() for i in range(3) for j in range(4)]
    np.testing.assert_array_equal(all_patches(wide, 2), jnp.stack(loop))
    density = jax.jit(net.log_density)
    expected = -0.7 * np.mean([density(p) for p in loop])
    prior = PatchPrior(net, 0.7, n_patches=5)
    value, gradient = jax.jit(lambda x: prior(x)), jax.jit(prior.grad)
    np.testing.assert_allclose(value(x), expected, rtol=1e-12)
    move = jax.random.normal(KEYS[4], x.shape, dtype)
    ahead, behind = (value(x + s * 1e-6 * move) for s in (1, -1))
    slope = jnp.sum((jnp.conj(gradient(x)) * move).real)
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6)
    # What a stochastic step sees is right on average, and not the same each time.
    some = jax.jit(jax.vmap(lambda k: prior.randomised(k)(x)))(jax.random.split(KEYS[5], 4000))
    np.testing.assert_allclose(jnp.mean(some), expected, rtol=0.03)
    assert float(jnp.std(some)) > 0


def test_random_patches_reach_every_corner():
    x = jnp.arange(20.0).reshape(4, 5, 1)
    corners = jax.jit(lambda x: random_patches(KEYS[0], x, 2, 500)[:, 0])(x)
    known = patches_at(x, jnp.indices((3, 4)).reshape(2, -1).T, 2)[:, 0]
    assert set(np.asarray(corners).tolist()) == set(np.asarray(known).tolist())


def test_training_a_flow_finds_the_entropy_of_gaussian_patches():
    """Correlated neighbours: independent entries would cost 0.32 nats more for each pixel."""
    net = PatchFlow(2, n_axes=1, width=8, depth=4, rngs=nnx.Rngs(0))
    n, r = 256, 0.7
    white = jax.random.normal(KEYS[6], (n, 2))
    images = jnp.stack([white[:, 0], r * white[:, 0] + np.sqrt(1 - r**2) * white[:, 1]], -1)
    graph, params = nnx.split(net)
    loss = PatchLikelihood(1)
    optimiser = optax.adam(0.01)

    def mean_loss(params):
        net = nnx.merge(graph, params)
        one = lambda x: loss(net, {"x": x}, KEYS[0])[0]  # noqa: E731
        return jnp.mean(jax.vmap(one)(images))

    def step(carry, _):
        params, state = carry
        value, slope = jax.value_and_grad(mean_loss)(params)
        updates, state = optimiser.update(slope, state)
        return (optax.apply_updates(params, updates), state), value

    go = jax.jit(lambda p: jax.lax.scan(step, (p, optimiser.init(p)), length=150)[1])
    values = go(params)
    covariance = np.cov(np.asarray(images).T, bias=True)
    entropy = 0.5 * (np.log(2 * np.pi * np.e) + 0.5 * np.linalg.slogdet(covariance)[1])
    independent = 0.5 * np.log(2 * np.pi * np.e)
    assert values[0] > independent - 0.1
    assert abs(float(values[-1]) - entropy) < 0.05


# ------------------------------------------------------------------------------------ autoencoders


class Linear(nnx.Module):
    """x̂ = W z and the encoder's own matrix, mean and variance of z: all of (1) in closed form."""

    def __init__(self, matrix, encoder, variance):
        self.matrix, self.encoder, self.variance = map(nnx.data, (matrix, encoder, variance))

    def encode(self, x):
        mean = x[..., 0].ravel() @ self.encoder.T
        return mean, jnp.broadcast_to(jnp.log(self.variance), mean.shape)

    def decode(self, z):
        return (self.matrix @ z).reshape(2, 2, 1)


def test_the_bound_is_the_likelihood_where_the_encoder_is_exact(x64):
    """W with orthogonal columns, so that the posterior of z has independent entries."""
    s, columns = 0.4, np.array([[1.0, 0.5], [1.0, -0.5], [1.0, 0.5], [1.0, -0.5]])
    precision = columns.T @ columns / s**2 + np.eye(2)
    encoder = np.linalg.solve(precision, columns.T) / s**2
    x = np.random.default_rng(2).normal(size=(2, 2))
    C = columns @ columns.T + s**2 * np.eye(4)
    log_p = -0.5 * (x.ravel() @ np.linalg.solve(C, x.ravel()) + np.linalg.slogdet(2 * np.pi * C)[1])

    def bound(variance, beta=1.0):
        net = Linear(*map(jnp.asarray, (columns, encoder, variance)))
        one = lambda k: ELBO(s, beta)(net, {"x": jnp.asarray(x)}, k)[0]  # noqa: E731
        return float(jnp.mean(jax.jit(jax.vmap(one))(jax.random.split(KEYS[0], 40_000))))

    exact = 1 / np.diag(precision)
    np.testing.assert_allclose(bound(exact), -log_p / 4, rtol=2e-3)
    assert bound(2 * exact) > -log_p / 4 + 0.05
    mean = encoder @ x.ravel()
    divergence = 0.5 * np.sum(mean**2 + exact - 1 - np.log(exact))
    np.testing.assert_allclose(gaussian_divergence(jnp.asarray(mean), jnp.log(exact)), divergence)
    np.testing.assert_allclose(bound(exact, 3.0) - bound(exact), 2 * divergence / 4, rtol=1e-9)


def test_draws_of_latents_have_their_moments_and_slopes(x64):
    mean, log_variance = jnp.array([1.0, -2.0]), jnp.array([0.0, 1.0])
    draws = jax.vmap(lambda k: reparametrised(mean, log_variance, k))(
        jax.random.split(KEYS[1], 9999)
    )
    np.testing.assert_allclose(jnp.mean(draws, 0), mean, atol=0.06)
    np.testing.assert_allclose(jnp.var(draws, 0), jnp.exp(log_variance), rtol=0.06)
    z, pull = jax.vjp(lambda m, v: reparametrised(m, v, KEYS[2]), mean, log_variance)
    slopes = pull(jnp.ones(2))
    np.testing.assert_allclose(slopes[0], 1)
    np.testing.assert_allclose(slopes[1], 0.5 * (z - mean), rtol=1e-12)


def test_an_autoencoder_halves_and_doubles(x64):
    net = filled(lambda: VAE(2, n_latent=3, width=4, depth=2, n_groups=2, rngs=nnx.Rngs(0)), 0, 0.2)
    x = jax.random.normal(KEYS[3], (2, 4, 8, 2))
    mean, log_variance = jax.jit(net.encode)(x)
    assert mean.shape == log_variance.shape == (2, 1, 2, 3)
    decoded = jax.jit(VAEDecoder(net))(mean)
    np.testing.assert_allclose(jax.jit(net)(x), decoded, rtol=1e-9)
    assert decoded.shape == x.shape
    with pytest.raises(ValueError, match="`x` has sizes"):
        net.encode(x[:, 1:])
    with pytest.raises(ValueError, match="`z` has shape"):
        net.decode(x)


# -------------------------------------------------------------------------------------- adversaries


class Score(nnx.Module):
    """A critic by the mean and the mean square of an image."""

    def __init__(self):
        self.weights = nnx.Param(jnp.zeros(3))

    def __call__(self, x):
        statistics = jnp.stack([jnp.ones(()), jnp.mean(x), jnp.mean(x**2)])
        return self.weights[...] @ statistics


class Gaussian(nnx.Module):
    """A generator of one pixel, m + s z."""

    def __init__(self):
        self.mean, self.scale = nnx.Param(jnp.zeros(())), nnx.Param(jnp.ones(()))

    def __call__(self, z):
        return (self.mean[...] + self.scale[...] * z)[..., None]


def test_a_generator_trains_against_a_critic():
    """Mean and deviation of the images come to those of the real ones, from (0, 1)."""
    step = adversarial_step(
        optax.adam(0.02, b1=0.5),
        optax.adam(0.05, b1=0.5),
        game=LeastSquaresGame(),
        content=None,
        weight=1.0,
        n_critic=2,
    )
    graphs, state = step.init(Generation(Gaussian()), Score(), key=KEYS[0])

    def one(state, key):
        key_real, key_z = jax.random.split(key)
        real = 1.5 + 0.5 * jax.random.normal(key_real, (64, 1))
        batch = latent_batch(key_z, real, n_latent=1)
        state, _ = step(graphs, state, batch)
        params = state.reconstructor.params["generator"]
        return state, (params["mean"], params["scale"])

    keys = jax.random.split(KEYS[1], 600)
    go = jax.jit(functools.partial(jax.lax.scan, one))
    means, scales = go(state, keys)[1]
    np.testing.assert_allclose(jnp.mean(means[-200:]), 1.5, atol=0.15)
    np.testing.assert_allclose(jnp.mean(jnp.abs(scales[-200:])), 0.5, atol=0.15)
