"""Distances of images against definitions, the metrics, finite differences and wrong versions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import metrics
from jaxrecon.training import losses
from jaxrecon.training.losses import WANG_2003
from tests.losses.toys import check_gradient

SHAPE = (24, 26)


def images(*, complex_values=False, seed=0):
    key_x, key_d = jax.random.split(jax.random.key(seed))
    dtype = complex if complex_values else float
    y = 3 + jnp.cumsum(jax.random.normal(key_x, SHAPE, dtype), 1)
    return y + jax.random.normal(key_d, SHAPE, dtype), y


DISTANCES = {
    "l1": losses.l1,
    "l2": losses.l2,
    "charbonnier": lambda x, y: losses.charbonnier(x, y, epsilon=0.3),
    "normalised": losses.normalised_l1_l2,
    "edge": losses.edge,
    "ssim": losses.ssim_loss,
    "ssim, uniform": lambda x, y: losses.ssim_loss(x, y, window="uniform"),
    "ms-ssim": lambda x, y: losses.ms_ssim_loss(x, y, exponents=WANG_2003[:2]),
    "ssim + l1": losses.ssim_l1,
    "frequency": losses.frequency,
}


CASES = [*((name, True) for name in DISTANCES), ("l1", False), ("ssim", False)]


@pytest.mark.parametrize(("name", "complex_values"), CASES)
def test_gradients_equal_finite_differences(name, complex_values, x64):
    x, y = images(complex_values=complex_values)
    distance = jax.jit(DISTANCES[name])
    check_gradient(lambda x: distance(x, y), x, tolerance=1e-6)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_images_have_distance_and_gradient_zero(name, x64):
    _, y = images(complex_values=name not in ("ssim", "ssim, uniform", "ms-ssim"))
    value, slope = jax.jit(jax.value_and_grad(DISTANCES[name]))(y, y)
    assert abs(float(value)) < 1e-9
    assert float(jnp.max(jnp.abs(slope))) < 1e-9  # and not NaN


def test_pixel_distances_by_numpy(x64):
    x, y = images(complex_values=True)
    d = np.abs(np.asarray(x) - np.asarray(y))
    np.testing.assert_allclose(losses.l1(x, y), d.mean())
    np.testing.assert_allclose(losses.l2(x, y), (d**2).mean())
    smooth = np.sqrt(d**2 + 0.01) - 0.1
    np.testing.assert_allclose(losses.charbonnier(x, y, epsilon=0.1), smooth.mean())
    y = np.asarray(y)
    relative = np.linalg.norm(d) / np.linalg.norm(y) + d.sum() / np.abs(y).sum()
    np.testing.assert_allclose(losses.normalised_l1_l2(x, jnp.asarray(y)), relative)
    steps = [np.abs(np.diff(np.asarray(x) - y, axis=a)).mean() for a in (0, 1)]
    np.testing.assert_allclose(losses.edge(x, jnp.asarray(y)), sum(steps))


def test_distances_of_several_measurements_are_those_of_one(x64):
    x, y = images()
    for distance in (losses.l1, losses.l2, losses.normalised_l1_l2):
        parts = distance((x[:5], x[5:]), (y[:5], y[5:]))
        np.testing.assert_allclose(parts, distance(x, y), rtol=1e-12)


def test_phase_counts_for_pixels_and_not_for_ssim(x64):
    _, y = images(complex_values=True)
    turned = 1j * y
    assert abs(float(losses.ssim_loss(turned, y))) < 1e-12
    assert float(losses.l2(turned, y)) > float(jnp.mean(jnp.abs(y) ** 2))


def test_ssim_is_the_metrics(x64):
    x, y = images()
    np.testing.assert_allclose(losses.ssim_loss(x, y), 1 - metrics.ssim(x, y), rtol=1e-12)
    uniform = 1 - metrics.ssim_uniform(x, y, data_range=7.0)
    got = losses.ssim_loss(x, y, window="uniform", data_range=7.0)
    np.testing.assert_allclose(got, uniform, rtol=1e-12)
    mixed = 0.7 * (1 - metrics.ssim(x, y)) + 0.3 * losses.l1(x, y) / jnp.max(jnp.abs(y))
    np.testing.assert_allclose(losses.ssim_l1(x, y, weight=0.7), mixed, rtol=1e-12)


def test_blank_targets_have_finite_losses():
    """As the edge slices of a volume are; a blank prediction of them is right."""
    blank = jnp.zeros((48, 48))
    similarities = (losses.ssim_loss, losses.ssim_l1, losses.ms_ssim_loss)
    for loss in similarities:
        options = {"exponents": (0.5, 0.5)} if loss is losses.ms_ssim_loss else {}
        go = lambda x, f=loss, o=options: f(x, blank, **o)  # noqa: E731
        assert float(go(blank)) == 0
        value, slope = jax.value_and_grad(go)(blank + 0.1)
        assert float(value) > 0.1
        assert bool(jnp.isfinite(slope).all())


def test_one_scale_without_luminance_times_contrast_is_ssim(x64):
    # l and c are averaged each for itself: for images of one mean in every window l is constant.
    x = jax.random.normal(jax.random.key(0), SHAPE)
    x = x - x.mean()
    y = 100 + jnp.roll(x, 1)
    got = losses.ms_ssim(x + 100, y, exponents=(1.0,), data_range=1e3)
    np.testing.assert_allclose(got, metrics.ssim(x + 100, y, data_range=1e3), rtol=1e-5)


def test_ms_ssim_follows_its_definition(x64):
    x, y = images()
    peak = float(jnp.max(jnp.abs(y)))
    got = losses.ms_ssim(x, y, exponents=(0.3, 0.7))

    def means(x, y):
        from scipy.ndimage import correlate1d

        offsets = np.arange(-5, 6)
        window = np.exp(-0.5 * (offsets / 1.5) ** 2)
        window /= window.sum()
        blur = lambda a: correlate1d(correlate1d(a, window, 0), window, 1)[5:-5, 5:-5]  # noqa: E731
        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
        luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        return luminance.mean(), ((2 * cov + c2) / (vx + vy + c2)).mean()

    x, y = np.asarray(x), np.asarray(y)
    halves = [a.reshape(12, 2, 13, 2).mean((1, 3)) for a in (x, y)]
    fine, coarse = means(x, y), means(*halves)
    np.testing.assert_allclose(got, fine[1] ** 0.3 * (coarse[0] * coarse[1]) ** 0.7, rtol=1e-9)


def test_ms_ssim_of_anticorrelated_images_is_zero_with_a_gradient(x64):
    x = jax.random.normal(jax.random.key(1), SHAPE)
    value, slope = jax.value_and_grad(losses.ms_ssim)(x, -x, exponents=(0.5, 0.5))
    assert float(value) == 0.0
    assert bool(jnp.all(jnp.isfinite(slope)))


def test_leading_axes_are_images(x64):
    x, y = images()
    x2, y2 = jnp.stack([x, 2 * x]), jnp.stack([y, y])
    peak = jnp.max(jnp.abs(y))
    for loss in (
        lambda x, y: losses.ms_ssim_loss(x, y, exponents=(0.5, 0.5), data_range=peak),
        losses.edge,
        losses.frequency,
        losses.focal_frequency,
    ):
        each = jax.jit(lambda x, y, loss=loss: loss(x, y) + loss(2 * x, y))(x, y) / 2
        np.testing.assert_allclose(jax.jit(loss)(x2, y2), each, rtol=1e-9)


def test_frequency_losses_by_numpy(x64):
    x, y = images(complex_values=True)
    spectrum = np.abs(np.fft.fft2(np.asarray(x) - np.asarray(y), norm="ortho"))
    np.testing.assert_allclose(losses.frequency(x, y), spectrum.mean())
    focal = ((spectrum / spectrum.max()) ** 1.5 * spectrum**2).mean()
    np.testing.assert_allclose(losses.focal_frequency(x, y, alpha=1.5), focal)
    np.testing.assert_allclose(losses.focal_frequency(x, y, alpha=0.0), losses.l2(x, y))


def test_the_focus_takes_no_part_in_the_gradient(x64):
    x, y = images()
    spectrum = jnp.fft.fft2(x - y, norm="ortho")
    weights = jnp.abs(spectrum) / jnp.max(jnp.abs(spectrum))
    fixed = lambda x: jnp.mean(weights * jnp.abs(jnp.fft.fft2(x - y, norm="ortho")) ** 2)  # noqa: E731
    got = jax.grad(losses.focal_frequency)(x, y)
    np.testing.assert_allclose(got, jax.grad(fixed)(x), rtol=1e-9, atol=1e-12)


def test_perceptual_is_a_weighted_sum_over_chosen_layers(x64):
    x, y = images(complex_values=True)
    kernel = jax.random.normal(jax.random.key(2), (2, 5))

    def features(kernel, x):
        first = jnp.tanh(x @ kernel)
        return {"first": first, "second": first[..., ::2, :, :], "third": x}

    extractor = jax.tree_util.Partial(features, kernel)
    layers = ("first", "second")
    distance = losses.Perceptual(extractor, layers=layers, weights=jnp.array([0.5, 2.0]))
    a, b = (jnp.tanh(jnp.stack([z.real, z.imag], -1) @ kernel) for z in (x, y))
    expected = 0.5 * jnp.mean((a - b) ** 2) + 2 * jnp.mean((a - b)[::2] ** 2)
    np.testing.assert_allclose(distance(x, y), expected, rtol=1e-12)
    check_gradient(lambda x: distance(x, y), x)
    unit = losses.Perceptual(extractor, layers=("third",), unit=True)
    np.testing.assert_allclose(unit(2 * y, y), 0.0, atol=1e-9)
    with pytest.raises(ValueError, match="fourth"):
        losses.Perceptual(extractor, layers=("fourth",))(x, y)
    with pytest.raises(ValueError, match="`weights`"):
        losses.Perceptual(extractor, layers=layers, weights=(1.0,))(x, y)


def test_supervised_is_a_named_weighted_sum(x64):
    from jaxrecon.core import identity

    x, y = images()
    loss = losses.supervised((0.2, losses.l1), (0.5, losses.l2), losses.ssim_loss)
    batch = {"y": x, "A": identity(x), "x": y}
    value, parts = jax.jit(lambda loss, b: loss(lambda A, y: A.H(y), b, jax.random.key(0)))(
        loss, batch
    )
    expected = {"l1": losses.l1(x, y), "l2": losses.l2(x, y), "ssim_loss": losses.ssim_loss(x, y)}
    assert set(parts) == set(expected)
    for name, part in parts.items():
        np.testing.assert_allclose(part, expected[name], rtol=1e-9)
    total = 0.2 * expected["l1"] + 0.5 * expected["l2"] + expected["ssim_loss"]
    np.testing.assert_allclose(value, total, rtol=1e-9)
    both = losses.weighted((2.0, loss), losses.MeasurementConsistency())
    joint, parts = both(lambda A, y: A.H(y) + 1, batch, jax.random.key(0))
    assert {"Supervised", "Supervised.l1", "MeasurementConsistency"} <= set(parts)
    np.testing.assert_allclose(
        joint, 2 * parts["Supervised"] + parts["MeasurementConsistency"], rtol=1e-12
    )
    with pytest.raises(ValueError, match=r"\['x'\]"):
        loss(lambda A, y: y, {"y": x, "A": identity(x)}, jax.random.key(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: losses.l1(x, x[:1]), "`prediction` has shape"),
        (lambda x: losses.ssim_loss(x, x, window="box"), "`window` is 'box'"),
        (lambda x: losses.ms_ssim(x, x), "176 pixels"),
        (lambda x: losses.ms_ssim(x, x[1:]), "`prediction`"),
        (lambda x: losses.weighted(), "`terms`"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones(SHAPE))
