"""What single networks promise beyond the registry: published sizes, fields of view, modes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.nets import images, layers
from tests.nets.registry import CASES
from tests.nets.verbs import build, call, example
from tests.tolerances import relative_error


@pytest.mark.parametrize(
    ("kind", "channels", "published"),
    [
        (images.UNet, (1, 1), 7_756_097),  # fastMRI's baseline of 32 channels
        (images.DnCNN, (1, 1), 555_137),  # KAIR's dncnn_25 with merged norms
        (images.DRUNet, (2, 1), 32_638_656),  # KAIR's drunet_gray
        (images.PatchGAN, (1,), 2_761_793),
    ],
)
def test_published_sizes(kind, channels, published):
    net = nnx.eval_shape(lambda: kind(*channels, rngs=nnx.Rngs(0)))
    assert layers.n_parameters(net) == published


def test_residual_unets_begin_near_the_identity():
    """What normalised features add to an image is small at first, whatever the image's scale."""
    x = 0.01 * jax.random.normal(jax.random.key(0), (32, 32, 1))
    added = []
    for residual in (True, False):
        net = images.UNet(1, 1, width=8, depth=2, residual=residual, rngs=nnx.Rngs(1))
        added.append(float(jnp.std(net(x) - residual * x)))
    assert 0.003 < added[0] < 0.1
    assert 0.3 < added[1] < 3


def test_deep_networks_of_many_options_fit_together():
    """Shapes alone: levels in the right order, heads, refinement, three axes."""
    flat, volume = (9, 5, 2), (3, 5, 4, 2)
    heads = {"n_blocks": (1, 1), "n_heads": (1, 2)}
    nets = [
        (images.UNet, flat, {"width": 4, "depth": 3, "attention": True}),
        (images.UNet, volume, {"width": 2, "depth": 2, "up": "shuffle"}),
        (images.DRUNet, flat, {"width": 2, "n_blocks": 2}),
        (images.Restormer, flat, {"width": 4, "n_blocks": (2, 1, 1), "n_heads": (1, 2, 4)}),
        (images.Restormer, volume, {"width": 2, **heads}),
        (
            images.SwinIR,
            volume,
            {"width": 6, "n_groups": 2, "n_blocks": 2, "n_heads": 3, "window": 2},
        ),
        (images.ConvRNN, volume, {"width": 3}),
    ]
    for kind, shape, options in nets:
        options = {"n_axes": len(shape) - 1, **options}
        net = nnx.eval_shape(lambda: kind(2, 1, **options, rngs=nnx.Rngs(0)))  # noqa: B023
        y = jax.eval_shape(lambda net, x: net(x), net, jnp.zeros(shape))
        assert y.shape == (*shape[:-1], 1)


def ones(make):
    """A network of positive weights, in which nothing cancels."""
    net = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), net)


def extent(net, shape, at):
    """Pixels along y that one pixel of the result sees."""
    gradient = jax.jit(jax.grad(lambda x: net(x)[at]))(jnp.ones(shape))
    rows = np.flatnonzero(np.asarray(gradient).any((1, 2)))
    return rows[-1] - rows[0] + 1


def test_dilated_chain_sees_33_pixels():
    dilations = images.IRCNN_DILATIONS
    make = functools.partial(images.DnCNN, 1, 1, width=1, depth=len(dilations), dilations=dilations)
    assert extent(ones(make), (41, 1, 1), (20, 0, 0)) == 33


def test_patch_is_70_pixels():
    make = functools.partial(images.PatchGAN, 1, width=1, norm="none")
    assert extent(ones(make), (128, 1, 1), (8, 0, 0)) == 70


def test_circular_convolutions_commute_with_shifts():
    case = CASES["IRCNN, separable"]
    net = build(case, padding="circular")
    x = example(case)
    shifted = jnp.roll(x, (2, 1), (0, 1))
    assert relative_error(call(net, shifted), jnp.roll(call(net, x), (2, 1), (0, 1))) < 1e-5


def test_recurrent_network_is_its_steps():
    case = CASES["ConvRNN"]
    net, x = build(case), example(case)
    hidden, estimate = net.cell.start(x), x[..., :1]
    for _ in range(net.n_iter):
        hidden, estimate = net.step(hidden, estimate, x)
    assert relative_error(call(net, x), estimate) < 1e-5


def test_dropout_acts_in_training_only():
    net, x = build(CASES["U-Net, many options"]), example(CASES["U-Net, many options"])
    still = net(x)
    assert (net(x) == still).all()
    net.train()
    first = net(x)
    assert (first != still).any()
    assert (first != net(x)).any()
    net.eval()
    assert (net(x) == still).all()


def test_examples_of_a_batch_draw_their_own_dropout():
    """The module merged inside vmap with a key per example, as a training step does."""
    net = layers.channel_dropout(0.5, rngs=nnx.Rngs(0))
    assert net is not None
    net.train()
    graph, state = nnx.split(net)

    def apply(state, key, x):
        net = nnx.merge(graph, state)
        nnx.reseed(net, default=key)
        return net(x)

    keys = jax.random.split(jax.random.key(1), 3)
    y = jax.jit(jax.vmap(apply, (None, 0, 0)))(state, keys, jnp.ones((3, 2, 2, 32)))
    assert (y[0] != y[1]).any()
    assert (y[1] != y[2]).any()


def test_training_moves_batch_statistics_inside_a_pure_step():
    case = CASES["DnCNN, batch norm"]
    net, x = build(case), example(case, 4)
    net.train()
    graph, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    before: Any = stats["norms"]

    @jax.jit
    def step(stats, x):
        net = nnx.merge(graph, params, stats)
        y = net(x)
        return y, nnx.state(net, nnx.BatchStat)

    y, moved = step(stats, x)
    features = jax.nn.relu(net.first(x))
    raw = net.convs[0](features)
    mean = 0.9 * before[0]["layer"]["mean"][...] + 0.1 * raw.mean((0, 1, 2))
    np.testing.assert_allclose(moved["norms"][0]["layer"]["mean"][...], mean, atol=1e-5)
    net.eval()
    assert relative_error(call(net, x), y) > 1e-2


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda r: images.UNet(1, 2, residual=True, rngs=r), "n_out"),
        (lambda r: images.UNet(1, 1, norm="power", rngs=r), "norm"),
        (lambda r: images.UNet(1, 1, activation="sine", rngs=r), "activation"),
        (lambda r: images.UNet(1, 1, depth=1, up="copy", rngs=r), "method"),
        (lambda r: images.DnCNN(1, 1, depth=1, rngs=r), "depth"),
        (lambda r: images.DnCNN(1, 1, depth=3, dilations=(1, 1), rngs=r), "dilations"),
        (lambda r: images.DnCNN(1, 1, norm="batch", use_bias=False, rngs=r), "norm"),
        (lambda r: images.Restormer(1, 1, n_blocks=(1, 1), n_heads=(1,), rngs=r), "n_heads"),
        (lambda r: images.SwinIR(1, 1, width=7, rngs=r), "n_heads"),
        (lambda r: images.ConvRNN(1, 2, rngs=r), "n_out"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        nnx.eval_shape(lambda: make(nnx.Rngs(0)))
