"""Networks as denoisers: adapters, gradient steps, Lipschitz constants, others' weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.core import Problem, identity, run
from jaxrecon.functionals import LeastSquares
from jaxrecon.functionals.denoisers import Complex, conv_norm, lipschitz
from jaxrecon.nets import priors
from jaxrecon.nets.images import DnCNN
from jaxrecon.solvers.gradient import Backtracking, ProximalGradient
from tests.nets.test_priors import SHAPE, SIGMA, image
from tests.tolerances import relative_error

# ---------------------------------------------------------------------------- adapters of networks


def test_an_image_denoiser_shows_the_network_what_it_says(x64):
    x = image((2, *SHAPE))

    class Sees(nnx.Module):
        n_in, n_axes = 2, 2

        def __call__(self, x):
            return 10 * x[..., 1:] + x[..., :1]

    D = priors.ImageDenoiser(Sees(), noise_map=True, margin=2)
    np.testing.assert_allclose(D(x, 0.3), x + 3, rtol=1e-14)
    D = priors.ImageDenoiser(Sees(), noise_map=True, residual=True)
    np.testing.assert_allclose(D(x, 0.3), jnp.full_like(x, -3), rtol=1e-12)
    np.testing.assert_allclose(Complex(D)(x + 1j * x, 0.3), -3 - 3j + 0 * x, rtol=1e-12)


def test_an_image_denoiser_mirrors_the_border(x64):
    class Neighbour(nnx.Module):
        def __call__(self, x):
            return jnp.roll(x, 1, -2)  # the pixel to the left

    x = image()
    D = priors.ImageDenoiser(Neighbour(), noise_map=False, margin=1)
    np.testing.assert_array_equal(D(x, 0.1)[:, 0], x[:, 1])
    np.testing.assert_array_equal(D(x, 0.1)[:, 1:], x[:, :-1])


def test_a_complex_image_is_two_channels(x64):
    net = DnCNN(3, 2, width=4, depth=3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    D, z = priors.ImageDenoiser(net, noise_map=True), image(complex_values=True)
    seen = jnp.stack([z.real, z.imag, jnp.full(SHAPE, SIGMA)], -1)
    expected = net(seen)
    assert relative_error(D(z, SIGMA), expected[..., 0] + 1j * expected[..., 1]) < 1e-14
    with pytest.raises(ValueError, match="`net` takes 3 channels, but a real image with"):
        D(z.real, SIGMA)


def gradient_step_net(scale=1.0, relaxation=1.0):
    net = DnCNN(2, 1, width=3, depth=3, activation="elu", param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    net = jax.tree.map(lambda a: scale * a, net)
    return priors.GradientStepNet(priors.ImageDenoiser(net, noise_map=True), relaxation=relaxation)


def test_a_gradient_step_is_what_the_paper_says(x64):
    D, x = gradient_step_net(), image()
    J = jax.jacobian(lambda x: D.net(x, SIGMA))(x).reshape(30, 30)
    rest = (x - D.net(x, SIGMA)).ravel()
    assert relative_error(D(x, SIGMA).ravel(), x.ravel() - (rest - J.T @ rest)) < 1e-12
    f = D.functional(SIGMA, 0.3, lipschitz=0.5)
    assert relative_error(f.grad(x), jax.grad(f)(x)) < 1e-12
    assert relative_error(f.curvature_root(identity(x))(x), jnp.sqrt(0.15) * x) < 1e-12
    with pytest.raises(ValueError, match="`lipschitz`"):
        D.functional(SIGMA).curvature_root(identity(x))


def test_a_contractive_gradient_step_is_the_proximal_map_it_promises(x64, key):
    D, z = gradient_step_net(0.6, relaxation=0.5), image()
    assert lipschitz(priors.GradientStepNet(D.net), z, SIGMA, key).value > 0
    assert priors.jacobian_norm(D, z, SIGMA, key, n_iter=60) < 1
    best = D.implied_prior(z, SIGMA) + 0.5 * jnp.sum((D(z, SIGMA) - z) ** 2)
    for seed in range(1, 6):
        w = z + 0.3 * image(seed=seed)
        other = D.implied_prior(w, SIGMA) + 0.5 * jnp.sum((D(w, SIGMA) - z) ** 2)
        assert other > best


def test_gradient_step_priors_descend_with_a_line_search(x64):
    f = gradient_step_net(0.6).functional(SIGMA)
    problem = Problem(((LeastSquares(image()), identity(image())), (f, identity(image()))))
    algorithm = ProximalGradient(step_size=1.0, line_search=Backtracking())
    result = run(algorithm, problem, n_iter=200, tol=1e-9).check()
    slope = result.value - image() + f.grad(result.value)
    assert jnp.linalg.norm(slope) < 1e-6


# ------------------------------------------------------------------------------ Lipschitz constants


@pytest.mark.parametrize(
    ("of", "coefficient", "factor"), [("residual", 1, -1), ("reflected", -1, 2), ("denoiser", 0, 1)]
)
def test_the_jacobian_norm_and_its_derivative(x64, key, of, coefficient, factor):
    x = image()

    def size(scale):
        D = priors.ImageDenoiser(gradient_step_net(scale).net.net, noise_map=True)
        return priors.jacobian_norm(D, x, SIGMA, key, of=of, n_iter=400)

    D = priors.ImageDenoiser(gradient_step_net(1.2).net.net, noise_map=True)
    J = jax.jacobian(lambda x: D(x, SIGMA))(x).reshape(30, 30)
    expected = jnp.linalg.norm(coefficient * jnp.eye(30) + factor * J, 2)
    assert abs(size(1.2) - expected) < 1e-6 * expected
    numeric = (size(1.2 + 1e-5) - size(1.2 - 1e-5)) / 2e-5
    assert abs(jax.grad(size)(1.2) - numeric) < 1e-4 * abs(numeric)


def test_the_penalty_sets_in_at_its_bound(x64, key):
    D, x = gradient_step_net(), image()
    size = priors.jacobian_norm(D, x, SIGMA, key, n_iter=2)
    excess, seen = priors.jacobian_penalty(D, x, SIGMA, key, bound=0.5 * float(size), n_iter=2)
    assert abs(excess - 0.5 * size) < 1e-12
    assert seen == size
    assert priors.jacobian_penalty(D, x, SIGMA, key, bound=1.01 * float(size), n_iter=2)[0] == 0
    with pytest.raises(ValueError, match="`of` is 'norm'"):
        priors.jacobian_norm(D, x, SIGMA, key, of="norm")


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (5, 4, 6, 2), (3, 3, 16, 16), (3, 3, 2, 1, 3)])
def test_the_bound_of_a_convolution_is_above_its_norm_and_tight(x64, shape):
    kernel = jax.random.normal(jax.random.key(2), shape, jnp.float64)
    sizes = (48, 44) if len(shape) == 4 else (24, 24, 16)
    exact, bound = conv_norm(kernel, sizes), priors.conv_bound(kernel)
    assert exact <= bound <= 1.04 * exact
    slope = jax.grad(priors.conv_bound)(kernel)  # homogeneous: ⟨∇f, k⟩ = f
    assert abs(jnp.sum(slope * kernel) - bound) < 1e-10 * bound


def chain(**options):
    options = {"width": 4, "depth": 4, "residual": False, "param_dtype": jnp.float64} | options
    net = DnCNN(1, 1, **options, rngs=nnx.Rngs(3))
    return jax.tree.map(lambda a: 3 * a + 0.1, net)


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("averaging", [0.5, 1.0])
def test_nonexpansive_networks_are(x64, key, padding, averaging):
    net, x = chain(padding=padding), image((9, 8))
    D = priors.Nonexpansive(net, averaging=averaging)
    assert lipschitz(priors.ImageDenoiser(net, noise_map=False), x, SIGMA, key).value > 1.5
    J = jax.jacobian(lambda x: D(x, SIGMA))(x).reshape(x.size, x.size)
    assert jnp.linalg.norm(J, 2) <= 1 + 1e-12
    # γ-averaged: D = (1 − γ) I + γ N with a nonexpansive N, which is not idle.
    inner = (J - (1 - averaging) * jnp.eye(x.size)) / averaging
    assert 0.05 < jnp.linalg.norm(inner, 2) <= 1 + 1e-12
    np.testing.assert_array_equal(D(x, 0.0), x)
    assert relative_error(D(2 * x, 2 * SIGMA), 2 * D(x, SIGMA)) < 1e-12


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"residual": True}, "residual=True"),
        ({"activation": "gelu"}, "activation='gelu'"),
        ({"norm": "batch"}, "a norm"),
        ({"separable": True}, "separable=True"),
        ({"padding": "reflect"}, "padding='reflect'"),
    ],
)
def test_what_cannot_be_made_nonexpansive_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        priors.Nonexpansive(chain(param_dtype=jnp.float32, **options))


# ------------------------------------------------------------------------------------ other weights


def weights(n_in=1, depth=4, width=5, n_out=1):
    rng = np.random.default_rng(0)
    sizes = [n_in, *[width] * (depth - 1), n_out]
    arrays = {}
    for i, pair in enumerate(itertools.pairwise(sizes)):
        arrays[f"w{i:02d}"] = rng.standard_normal((3, 3, *pair)).astype(np.float32)
        arrays[f"b{i:02d}"] = rng.standard_normal(pair[1]).astype(np.float32)
    return arrays


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (2, 1), (2, 2)])
def test_weights_of_others_are_read(tmp_path, n_in, n_out):
    arrays = weights(n_in, n_out=n_out)
    np.savez(tmp_path / "dncnn.npz", **arrays)
    x = np.random.default_rng(1).standard_normal((6, 7)).astype(np.float32)
    features = np.stack([x, np.full_like(x, 0.2)][:n_in], -1).astype(np.float64)
    for i in range(4):
        windows = np.pad(features, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(windows, (3, 3), (0, 1))
        features = np.einsum("yxaij,ijab->yxb", windows, arrays[f"w{i:02d}"])
        features = features + arrays[f"b{i:02d}"]
        features = np.maximum(features, 0) if i < 3 else features
    D = priors.read_dncnn(tmp_path / "dncnn.npz")
    assert relative_error(D(jnp.asarray(x), 0.2), x - features[..., 0]) < 1e-5


def test_broken_weights_are_refused_by_name(tmp_path):
    path = tmp_path / "dncnn.npz"

    def refused(arrays, match):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=match) as caught:
            priors.read_dncnn(path)
        assert str(path) in str(caught.value)

    good = weights()
    refused({k: v for k, v in good.items() if k != "b02"}, r"b02")
    refused(good | {"extra": np.zeros(3)}, r"unknown: .*'extra'")
    refused(good | {"w01": good["w01"][:, :2]}, r"`w01` is float32\[3, 2, 5, 5\], expected")
    refused(good | {"b03": np.zeros(1, np.int32)}, r"`b03` is int32")
    refused(good | {"w02": np.full_like(good["w02"], np.nan)}, r"`w02` .* not finite")
    refused(weights(n_in=3), r"`w00` takes 3 channels")
    refused({"w00": np.zeros(3), "b00": np.zeros(3)}, r"at least two")
    np.savez(path, **good)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a readable"):
        priors.read_dncnn(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a readable"):
        priors.read_dncnn(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError, match="no such file"):
        priors.read_dncnn(tmp_path / "absent.npz")


@pytest.mark.data
def test_the_published_denoiser_denoises(shared_data):
    with np.load(shared_data / "train" / "set12.npz") as file:
        x = jnp.asarray(file["i01"][96:160, 96:160] / 255, jnp.float32)
    y = x + 25 / 255 * jax.random.normal(jax.random.key(0), x.shape)
    D = priors.read_dncnn(shared_data / "denoisers" / "kair_dncnn_25.npz")
    psnr = -10 * jnp.log10(jnp.mean((D(y, 25 / 255) - x) ** 2))
    assert psnr > 29
