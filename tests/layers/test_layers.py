"""Layers against their formulas, written out in numpy."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from jaxrecon.nets import layers

RNGS = nnx.Rngs(0)
NUMPY_MODES: dict[str, Any] = {
    "zeros": "constant",
    "reflect": "reflect",
    "circular": "wrap",
    "replicate": "edge",
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, expected):
    assert_allclose(np.asarray(got), expected, rtol=2e-5, atol=2e-5)


# --------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_channels_there_and_back(dtype):
    image = normal(3, 4, 5).astype(dtype) * (1 + 2j if dtype == "complex64" else 1)
    parts = 2 if dtype == "complex64" else 1
    assert layers.to_channels(jnp.array(image)).shape == (3, 4, 5, parts)
    for axis, shape in ((0, (4, 5, 3 * parts)), (1, (3, 5, 4 * parts)), (-1, (3, 4, 5 * parts))):
        channels = layers.to_channels(jnp.array(image), axis=axis)
        assert channels.shape == shape
        assert channels.dtype == jnp.float32
        close(layers.from_channels(channels, image, axis=axis), image)
    back = layers.from_channels(layers.to_channels(jnp.array(image)).astype(jnp.bfloat16), dtype)
    assert back.dtype == dtype


def test_real_and_imaginary_part_of_a_coil_are_neighbours():
    image = jnp.array([[[1 + 2j]], [[3 + 4j]]], jnp.complex64)
    assert layers.to_channels(image, axis=0).tolist() == [[[1, 2, 3, 4]]]


def test_a_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="`channels` has 1 channels, expected 2"):
        layers.from_channels(jnp.ones((4, 5, 1)), jnp.complex64)
    with pytest.raises(ValueError, match="expected a multiple of 2"):
        layers.from_channels(jnp.ones((4, 5, 3)), jnp.complex64, axis=0)


class Recorder(nnx.Module):
    """Adds a half and keeps what it saw."""

    def __call__(self, x):
        self.seen = nnx.Intermediate(x)
        return x[..., :2] + 0.5


def test_normalised_network_sees_mean_zero_and_variance_one():
    x, sigma = 7 + 3 * normal(2, 5, 6, 2), np.full((2, 5, 6, 1), 0.3, np.float32)
    net = layers.Normalised(Recorder(), n_maps=1)
    y = net(jnp.array(np.concatenate([x, sigma], -1)))
    mean = x.mean((1, 2), keepdims=True)
    scale = np.sqrt(np.mean((x - mean) ** 2, (1, 2, 3), keepdims=True))
    close(net.net.seen[...], np.concatenate([(x - mean) / scale, sigma / scale], -1))
    close(y, x + scale / 2)


def test_normalising_a_constant_image_has_finite_derivatives():
    net = layers.Normalised(Recorder())
    x = jnp.full((4, 4, 2), 3.0)
    close(net(x), x + 0.5)
    gradient = jax.grad(lambda x: jnp.sum(layers.Normalised(lambda x: x**3)(x)))(x)
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_means_of_channels_that_are_gone_are_not_given_back():
    net = layers.Normalised(lambda x: x[..., :1])
    with pytest.raises(ValueError, match="centre=False"):
        net(jnp.ones((4, 4, 2)))
    assert layers.Normalised(lambda x: x[..., :1], centre=False)(jnp.ones((4, 4, 2))).shape[-1] == 1


# ------------------------------------------------------------------------------------ convolution


def correlate(x, kernel, padding, stride, dilation):
    """Σ over offsets and input channels, each written as a shifted image."""
    side = kernel.shape[0]
    reach = (side - 1) * dilation
    border = (reach // 2, reach - reach // 2)
    padded = np.pad(x, (border, border, (0, 0)), NUMPY_MODES[padding])
    total: Any = 0.0
    for i, j in itertools.product(range(side), repeat=2):
        at = (slice(i * dilation, i * dilation + x.shape[0]),)
        at += (slice(j * dilation, j * dilation + x.shape[1]),)
        total = total + padded[at] @ kernel[i, j]
    return total[::stride, ::stride]


@pytest.mark.parametrize(
    ("padding", "kernel", "stride", "dilation"),
    [
        ("zeros", 3, 1, 1),
        ("reflect", 3, 2, 1),
        ("circular", 3, 1, 2),
        ("replicate", 4, 2, 1),
        ("zeros", 2, 2, 1),
        ("zeros", 4, 2, 1),
    ],
)
def test_convolution(padding, kernel, stride, dilation):
    x = normal(7, 6, 2)
    options = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    layer: Any = layers.Conv(2, 3, **options, rngs=RNGS)
    layer.bias[...] = jnp.arange(3.0)
    expected = correlate(x, np.asarray(layer.kernel[...]), padding, stride, dilation)
    close(layer(jnp.array(x)), expected + np.arange(3))


def test_separable_convolution_is_a_convolution():
    layer, x = layers.SeparableConv(2, 3, dilation=2, rngs=RNGS), normal(6, 5, 2)
    single = np.asarray(layer.channelwise.kernel[...])[:, :, 0, :, None]
    mixing = np.asarray(layer.mix.kernel[...])
    close(layer(jnp.array(x)), correlate(x, single * mixing, "zeros", 1, 2))


def test_spectral_convolution_divides_by_the_largest_singular_value():
    layer = layers.SpectralConv(2, 3, n_start=200, rngs=RNGS)
    matrix = np.asarray(layer.conv.kernel[...])
    x = normal(4, 5, 2)
    sigma = np.linalg.svd(matrix.reshape(-1, 3), compute_uv=False)[0]
    close(layer(jnp.array(x)), correlate(x, matrix / sigma, "zeros", 1, 1))


def test_spectral_convolution_follows_the_weights_in_training_only():
    layer, x = layers.SpectralConv(2, 3, n_start=0, rngs=RNGS), jnp.array(normal(4, 5, 2))
    matrix = np.asarray(layer.conv.kernel[...]).reshape(-1, 3)
    start = np.asarray(layer.u[...])
    layer(x)
    close(layer.u[...], start)
    layer.train()
    for _ in range(100):
        layer(x)
    close(abs(layer.u[...] @ np.linalg.svd(matrix)[2][0]), 1.0)


# ------------------------------------------------------------------------------- norms, dropout


@pytest.mark.parametrize(
    ("kind", "axes"), [("instance", (2, 3)), ("layer", (4,)), ("batch", (0, 1, 2, 3))]
)
def test_norms(kind, axes):
    x = 5 + 2 * normal(2, 3, 4, 5, 6)
    norm = layers.Norm(kind, 6, rngs=RNGS)
    norm.train()
    spread = x - x.mean(axes, keepdims=True)
    close(norm(jnp.array(x)), spread / np.sqrt(np.mean(spread**2, axes, keepdims=True)))


def test_group_norm():
    x = 5 + 2 * normal(2, 3, 4, 5, 6)
    groups = x.reshape(2, 3, 4, 5, 2, 3)
    spread = groups - groups.mean((2, 3, 5), keepdims=True)
    expected = spread / np.sqrt(np.mean(spread**2, (2, 3, 5), keepdims=True))
    norm = layers.Norm("group", 6, n_groups=2, rngs=RNGS)
    close(norm(jnp.array(x)), expected.reshape(x.shape))
    same = jnp.array(x)
    assert layers.Norm("none", 6, rngs=RNGS)(same) is same


def test_batch_statistics_are_followed_in_training_and_used_in_evaluation():
    x = jnp.array(5 + 2 * normal(8, 4, 5, 3))
    norm: Any = layers.Norm("batch", 3, momentum=0.75, rngs=RNGS)
    close(norm(x), x / np.sqrt(1 + 1e-5))
    norm.train()
    norm(x)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    close(norm.layer.mean[...], mean / 4)
    close(norm.layer.var[...], 3 / 4 + variance / 4)
    norm.eval()
    close(norm(x), (x - mean / 4) / jnp.sqrt(3 / 4 + variance / 4 + 1e-5))


def test_examples_of_a_vmapped_axis_share_statistics_by_name():
    x = jnp.array(5 + 2 * normal(4, 3, 5, 2))
    norm = layers.Norm("batch", 2, axis_name="batch", rngs=RNGS)
    norm.train()
    graph, state = nnx.split(norm)

    def apply(state, x):
        return nnx.merge(graph, state)(x)

    whole = layers.Norm("batch", 2, rngs=RNGS)
    whole.train()
    close(jax.vmap(apply, (None, 0), axis_name="batch")(state, x), whole(x))


def test_dropout_takes_whole_channels_in_training_only():
    drop, x = layers.channel_dropout(0.4, rngs=nnx.Rngs(1)), jnp.ones((50, 3, 4, 20))
    assert drop is not None
    assert drop(x) is x
    drop.train()
    y = np.asarray(drop(x))
    assert set(np.unique(y)) == {0, np.float32(1 / 0.6)}
    assert (y == y[:, :1, :1]).all()
    assert abs(y.mean() - 1) < 0.1
    assert (np.asarray(drop(x)) != y).any()
    assert layers.channel_dropout(0.0, rngs=RNGS) is None


# -------------------------------------------------------------------------------------- resolution


@pytest.mark.parametrize("shape", [(5, 8, 2), (1, 2, 2), (3, 7, 9, 2)])
def test_padding_mirrors_and_crops(shape):
    x = normal(*shape)
    padded, crop = layers.pad_to_multiple(jnp.array(x), 4)
    widths = [(0, 0)] * (x.ndim - 3)
    widths += [((-n % 4) // 2, -n % 4 - (-n % 4) // 2) for n in shape[-3:-1]] + [(0, 0)]
    close(padded, np.pad(x, widths, "symmetric"))
    close(crop(padded), x)


def test_blocks_to_channels_and_back_in_three_dimensions():
    x = jnp.array(normal(2, 4, 6, 2, 3))
    blocks = layers.space_to_channels(x, n_axes=3)
    assert blocks.shape == (2, 2, 3, 1, 24)
    close(blocks[1, 1, 2, 0, 3 * 5 : 3 * 6], x[1, 3, 4, 1])  # offset (1, 0, 1) is the sixth
    close(layers.channels_to_space(blocks, n_axes=3), x)


@pytest.mark.parametrize(("method", "reduce"), [("mean", np.mean), ("max", np.max)])
def test_pooling(method, reduce):
    x = normal(4, 6, 2)
    expected = reduce(x.reshape(2, 2, 3, 2, 2), (1, 3))
    close(layers.Downsample(2, 2, method=method, rngs=RNGS)(jnp.array(x)), expected)


def test_shuffled_and_strided_downsampling_are_the_same_map():
    x = jnp.array(normal(4, 6, 2))
    strided: Any = layers.Downsample(2, 3, method="stride", rngs=RNGS)
    shuffled: Any = layers.Downsample(2, 3, method="shuffle", rngs=RNGS)
    shuffled.conv.kernel[...] = strided.conv.kernel[...].reshape(1, 1, 8, 3)
    close(shuffled(x), strided(x))


def test_upsampling():
    x = jnp.array(normal(2, 3, 2))
    shuffled, transposed = (
        layers.Upsample(2, 4, method=method, rngs=RNGS) for method in ("shuffle", "transpose")
    )
    assert shuffled(x).shape == transposed(x).shape == (4, 6, 4)
    kernel = np.asarray(transposed.conv.kernel[...])
    flipped = np.einsum("yxc,ijcd->yixjd", x, kernel[::-1, ::-1])
    close(transposed(x), flipped.reshape(4, 6, 4))
    smooth = layers.Upsample(1, 1, method="linear", rngs=RNGS)
    ramp = smooth(jnp.arange(4.0)[:, None, None] * jnp.ones((4, 2, 1)))[2:-2, 0, 0]
    close(jnp.diff(ramp), np.full(3, 0.5 * smooth.conv.kernel[...].item()))


# --------------------------------------------------------------------------------------- attention


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize(("sizes", "window", "shift"), [((5, 6), 4, 2), ((3, 4, 2), 2, 1)])
def test_window_attention_is_attention_among_the_pixels_of_a_window(sizes, window, shift):
    """Dense attention over all pixels, of which each sees those of its window."""
    d, n_heads, c = len(sizes), 2, 4
    x = normal(*sizes, c)
    layer: Any = layers.WindowAttention(
        c, n_heads=n_heads, window=window, shift=shift, n_axes=d, rngs=RNGS
    )
    layer.bias[...] = jnp.array(normal(*layer.bias.shape))
    places = np.array(list(itertools.product(*map(range, sizes))))
    # Windows lie on the padded grid, moved by the shift; those cut by the border stay two.
    low = np.array([(-n % window) // 2 for n in sizes])
    cells = (places + low - shift) // window
    visible = (cells[:, None] == cells[None]).all(-1)
    steps = places[:, None] - places[None] + window - 1
    number = np.where(visible, steps @ (2 * window - 1) ** np.arange(d), 0)
    project, mix = layer.project, layer.mix
    parts = x.reshape(-1, c) @ np.asarray(project.kernel[...]) + np.asarray(project.bias[...])
    q, k, v = np.moveaxis(parts.reshape(-1, 3, n_heads, c // n_heads), 1, 0)
    scores = np.einsum("qhc,khc->hqk", q, k) / np.sqrt(c // n_heads)
    scores = np.where(visible, scores + np.asarray(layer.bias[...])[:, number], -np.inf)
    values = np.einsum("hqk,khc->qhc", softmax(scores), v).reshape(-1, c)
    expected = values @ np.asarray(mix.kernel[...]) + np.asarray(mix.bias[...])
    close(layer(jnp.array(x)), expected.reshape(*sizes, c))


def test_channel_attention():
    c, n_heads = 4, 2
    layer, x = layers.ChannelAttention(c, n_heads=n_heads, rngs=RNGS), normal(3, 5, c)
    layer.temperature[...] = jnp.array([[[2.0]], [[0.5]]])
    parts = np.asarray(layer.local(layer.project(jnp.array(x))))
    q, k, v = np.moveaxis(parts.reshape(15, 3, n_heads, c // n_heads), 1, 0)
    q, k = q / np.linalg.norm(q, axis=0), k / np.linalg.norm(k, axis=0)
    scores = np.einsum("phc,phd->hcd", q, k) * np.array([[[2.0]], [[0.5]]])
    values = np.einsum("hcd,phd->phc", softmax(scores), v).reshape(3, 5, c)
    close(layer(jnp.array(x)), values @ np.asarray(layer.mix.kernel[0, 0]))


def test_attention_gate():
    gate = layers.AttentionGate(3, 2, 4, rngs=RNGS)
    skip, coarse = normal(4, 5, 3), normal(4, 5, 2, seed=1)

    def mix(x, conv: Any):
        return x @ np.asarray(conv.kernel[0, 0]) + (0 if conv.bias is None else conv.bias[...])

    together = np.maximum(mix(skip, gate.of_skip) + mix(coarse, gate.of_gate), 0)
    weight = 1 / (1 + np.exp(-mix(together, gate.score)))
    close(gate(jnp.array(skip), jnp.array(coarse)), skip * weight)


# --------------------------------------------------------------------------------------- recurrent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pixelwise(x, conv: Any):
    return x @ np.asarray(conv.kernel[0, 0]) + np.asarray(conv.bias[...])


def test_gated_recurrent_unit():
    cell = layers.ConvGRU(2, 3, kernel=1, rngs=RNGS)
    x, h = normal(4, 5, 2), normal(4, 5, 3, seed=1)
    z, r = np.split(sigmoid(pixelwise(np.concatenate([x, h], -1), cell.gates)), 2, -1)
    proposal = np.tanh(pixelwise(np.concatenate([x, r * h], -1), cell.proposal))
    close(cell(jnp.array(h), jnp.array(x)), (1 - z) * h + z * proposal)


def test_long_short_term_memory():
    cell = layers.ConvLSTM(2, 3, kernel=1, rngs=RNGS)
    assert cell.gates.bias is not None
    assert cell.gates.bias[...].tolist() == [0] * 3 + [1] * 3 + [0] * 6
    x, h, c = normal(4, 5, 2), normal(4, 5, 3, seed=1), normal(4, 5, 3, seed=2)
    i, f, o, g = np.split(pixelwise(np.concatenate([x, h], -1), cell.gates), 4, -1)
    c_next = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    got = cell((jnp.array(h), jnp.array(c)), jnp.array(x))
    close(got[0], sigmoid(o) * np.tanh(c_next))
    close(got[1], c_next)
    assert [s.shape for s in cell.start(jnp.array(x))] == [(4, 5, 3)] * 2


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: layers.Conv(1, 1, padding="mirror", rngs=RNGS), "padding"),
        (lambda: layers.Conv(3, 4, groups=2, rngs=RNGS), "groups"),
        (lambda: layers.Norm("power", 4, rngs=RNGS), "norm"),
        (lambda: layers.Norm("group", 4, n_groups=3, rngs=RNGS), "n_groups"),
        (lambda: layers.channel_dropout(1.0, rngs=RNGS), "dropout"),
        (lambda: layers.activation_named("sine"), "activation"),
        (lambda: layers.Downsample(1, 1, method="skip", rngs=RNGS), "method"),
        (lambda: layers.Upsample(1, 1, method="copy", rngs=RNGS), "method"),
        (lambda: layers.WindowAttention(6, n_heads=4, rngs=RNGS), "n_heads"),
        (lambda: layers.WindowAttention(4, window=4, shift=4, rngs=RNGS), "shift"),
        (lambda: layers.ChannelAttention(6, n_heads=4, rngs=RNGS), "n_heads"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        make()
