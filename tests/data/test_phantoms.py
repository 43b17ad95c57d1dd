"""Ellipses: images, line integrals and k-space against geometry, brute force and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxrecon import data
from jaxrecon.core import centered_fft
from jaxrecon.data._bessel import bessel_j1, jinc
from tests.tolerances import DERIVATIVE, relative_error


def tilted() -> data.Ellipses:
    """No symmetry, not centred, one negative and overlapping: every sign matters."""
    return data.ellipses(
        [1.0, -0.6, 0.3],
        [(1.5, -2.0), (3.0, 1.0), (-4.2, 3.1)],
        [(6.0, 3.5), (1.2, 2.6), (0.9, 0.7)],
        [0.4, -1.0, 2.0],
    )


def at(phantom: data.Ellipses, x, y):
    """The definition, in NumPy."""
    total = np.zeros(np.broadcast(x, y).shape)
    for v, c, (a, b), t in zip(
        phantom.value, phantom.centre, phantom.semi_axes, phantom.angle, strict=True
    ):
        dx, dy = x - float(c[0]), y - float(c[1])
        u, w = dx * np.cos(t) + dy * np.sin(t), dy * np.cos(t) - dx * np.sin(t)
        total += float(v) * ((u / a) ** 2 + (w / b) ** 2 <= 1)
    return total


@pytest.mark.parametrize(("double", "tolerance"), [(False, 5e-7), (True, 2e-15)])
def test_bessel_j1_against_scipy(double, tolerance):
    with jax.enable_x64(double):
        x = jnp.concatenate([jnp.linspace(-60, 60, 4001), jnp.geomspace(1e-8, 2e3, 999)])
        exact = np.asarray(x, float)
        value, slope = jax.jit(jax.vmap(jax.value_and_grad(bessel_j1)))(x)
        np.testing.assert_allclose(value, scipy.special.j1(exact), atol=tolerance, rtol=0)
        np.testing.assert_allclose(slope, scipy.special.jvp(1, exact), atol=2 * tolerance, rtol=0)
    assert jinc(jnp.zeros(1)).tolist() == [1.0]


def test_rasterise_is_the_definition():
    image = data.rasterise(tilted(), (15, 20), pixel=0.9)
    x, y = (np.arange(20) - 9.5) * 0.9, (np.arange(15) - 7)[:, None] * 0.9
    np.testing.assert_allclose(image, at(tilted(), x, y), atol=1e-6)
    shifted = data.rasterise(tilted(), (15, 20), pixel=0.9, origin="fourier")
    np.testing.assert_allclose(shifted, at(tilted(), x - 0.45, y), atol=1e-6)


def test_area_average_is_the_mean_over_pixels():
    n = 60
    image = data.area_average(tilted(), (15, 20), pixel=0.9, rows=n)
    fine = data.rasterise(tilted(), (15 * n, 20 * n), pixel=0.9 / n)
    np.testing.assert_allclose(image, data.downsample(fine, n), atol=2e-3)
    area = jnp.sum(tilted().value * jnp.pi * jnp.prod(tilted().semi_axes, 1))
    np.testing.assert_allclose(image.sum() * 0.81, area, rtol=2e-4)
    # Points alone are off by an order more: the test would notice.
    assert abs(data.rasterise(tilted(), (15, 20), pixel=0.9).sum() * 0.81 / area - 1) > 2e-3


def test_shepp_logan_stands_upright():
    head = data.rasterise(data.modified_shepp_logan(half_width=50.0), (100, 100))
    # The large bright ellipse is up, the three small ones down, the larger ventricle on the left.
    np.testing.assert_allclose(head[49 - 17, 49], 0.3, atol=1e-6)
    np.testing.assert_allclose(head[49 + 17, 49], 0.2, atol=1e-6)
    np.testing.assert_allclose(head[50 + 30, 49], 0.3, atol=1e-6)
    assert jnp.sum(jnp.abs(head[:, :50]) < 1e-6) > jnp.sum(jnp.abs(head[:, 50:]) < 1e-6)
    original = data.shepp_logan(half_width=50.0, scale=0.5)
    np.testing.assert_allclose(data.rasterise(original, (100, 100))[60, 49], 0.51, atol=1e-6)


def test_line_integrals_are_chords_of_a_disc():
    disc = data.ellipses([2.0], [(1.0, 3.0)], [(4.0, 4.0)])
    angles, s = jnp.array([0.0, jnp.pi / 2, 0.7]), jnp.linspace(-8, 8, 33)
    centre = np.array([1.0, 3.0, np.cos(0.7) + 3 * np.sin(0.7)])[:, None]
    chord = 2 * 2 * np.sqrt(np.maximum(16 - (np.asarray(s) - centre) ** 2, 0))
    np.testing.assert_allclose(data.line_integrals(disc, angles, s), chord, atol=2e-5)


def test_line_integrals_are_sums_along_the_ray():
    angles, s = jnp.array([0.3, 1.9, -2.4]), jnp.array([-3.0, 0.2, 2.5])
    along = (np.arange(40000) - 19999.5) * 1e-3
    cosine, sine = (np.asarray(f(angles))[:, None, None] for f in (jnp.cos, jnp.sin))
    # DESIGN: the ray runs along (−sin θ, cos θ) through s (cos θ, sin θ).
    x = np.asarray(s)[:, None] * cosine - along * sine
    y = np.asarray(s)[:, None] * sine + along * cosine
    sums = at(tilted(), x, y).sum(-1) * 1e-3
    np.testing.assert_allclose(data.line_integrals(tilted(), angles, s), sums, atol=5e-3)
    ends = [jnp.stack([jnp.array(x[..., i]), jnp.array(y[..., i])], -1) for i in (0, -1)]
    np.testing.assert_allclose(data.ray_integrals(tilted(), *ends), sums, atol=5e-3)


def test_ray_integrals_end_at_their_points():
    disc = data.ellipses([2.0], [(1.0, 0.0)], [(3.0, 1.0)])
    source = jnp.array([-50.0, 0.0])
    ends = jnp.array([[50.0, 0.0], [1.0, 0.0], [-10.0, 0.0], [50.0, 90.0]])
    np.testing.assert_allclose(
        data.ray_integrals(disc, source, ends), [12.0, 6.0, 0.0, 0.0], atol=1e-5
    )


def test_bin_averages_are_means_of_lines():
    angles, s = jnp.array([0.3, 1.9]), jnp.linspace(-8, 8, 9)
    n = 2000
    inside = ((jnp.arange(n) + 0.5) / n - 0.5) * 2.0
    thin = data.line_integrals(tilted(), angles, (s[:, None] + inside).ravel())
    averages = data.bin_averages(tilted(), angles, s, 2.0)
    np.testing.assert_allclose(averages, thin.reshape(2, 9, n).mean(-1), atol=1e-4)


def test_kspace_is_the_transform_of_a_fine_image(x64):
    shape, factor = (12, 17), 40
    fine = (shape[0] * factor, shape[1] * factor)
    # area_average over sub-pixels around the same origin; their own width is divided out again.
    image = data.area_average(tilted(), fine, pixel=1.0 / factor, origin="fourier", rows=6)
    y, x = ((np.arange(n) - n // 2) / factor for n in fine)
    ky, kx = (np.arange(n) - n // 2 for n in shape)
    left = np.exp(-2j * np.pi * np.outer(ky, y) / shape[0])
    right = np.exp(-2j * np.pi * np.outer(x, kx) / shape[1])
    width = np.outer(*(np.sinc(k / n / factor) for k, n in zip((ky, kx), shape, strict=True)))
    sums = left @ np.asarray(image) @ right / width / factor**2 / np.sqrt(np.prod(shape))
    exact = data.kspace(tilted(), data.cartesian_coordinates(shape), shape)
    assert relative_error(exact, sums) < 1e-4


def test_kspace_is_scaled_like_the_grids_transform():
    phantom, shape = tilted(), (96, 80)
    image = data.area_average(phantom, shape, pixel=0.25, origin="fourier")
    exact = data.kspace(phantom, data.cartesian_coordinates(shape), shape, pixel=0.25)
    middle = (slice(40, 57), slice(32, 49))
    # What remains is the pixel's own width, 1 - sinc(8/80)² at most.
    assert relative_error(centered_fft(image, (0, 1))[middle], exact[middle]) < 0.01


VERBS = {
    "line_integrals": lambda p: data.line_integrals(p, jnp.array([0.3, 1.9]), jnp.arange(-3.1, 4)),
    "bin_averages": lambda p: data.bin_averages(p, jnp.array([0.3]), jnp.arange(-8.0, 8, 2), 2.0),
    "ray_integrals": lambda p: data.ray_integrals(
        p, jnp.array([-9.0, 1.0]), jnp.array([[9.0, -2.0], [8.0, 3.0], [1.0, -1.0]])
    ),
    "kspace": lambda p: data.kspace(p, data.cartesian_coordinates((4, 5)), (4, 5)),
    "area_average": lambda p: data.area_average(p, (7, 9), pixel=1.7),
}


@pytest.mark.parametrize("verb", VERBS)
def test_gradients_in_all_parameters(verb, x64, key):
    function, phantom = VERBS[verb], tilted()
    out = function(phantom)
    weights = jax.random.normal(key, out.shape, out.dtype)
    loss = jax.jit(lambda p: jnp.sum((weights * function(p)).real ** 2))
    gradient = jax.grad(loss)(phantom)
    for name in ("value", "centre", "semi_axes", "angle"):
        direction = jax.tree.map(jnp.zeros_like, phantom)
        random = jax.random.normal(key, getattr(phantom, name).shape, float)
        direction = data.Ellipses(**{**vars(direction), name: random})
        step = 1e-6
        ahead, behind = (
            loss(jax.tree.map(lambda a, d, h=h: a + h * d, phantom, direction))
            for h in (step, -step)
        )
        numeric = (ahead - behind) / (2 * step)
        exact = jnp.sum(getattr(gradient, name) * random)
        assert abs(exact - numeric) < DERIVATIVE * max(abs(numeric), 1), name


def test_gradients_are_finite_at_tangents():
    disc = data.ellipses([1.0], [(0.0, 0.0)], [(2.0, 2.0)])
    s = jnp.array([-2.0, 0.0, 2.0, 5.0])

    def total(p):
        lines = data.line_integrals(p, jnp.zeros(1), s).sum()
        return lines + data.bin_averages(p, jnp.zeros(1), s, 4.0).sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(total)(disc)))


def test_random_ellipses_have_the_distribution_of_the_paper():
    draw = jax.jit(jax.vmap(lambda key: data.random_ellipses(key, half_width=3.0)))
    phantoms = draw(jax.random.split(jax.random.key(0), 400))
    there = np.asarray(phantoms.value != 0)
    number, value = there.sum(1), np.abs(np.asarray(phantoms.value)[there])
    assert abs(number.mean() - 50) < 1
    assert abs(number.var() - 50) < 8
    assert abs(value.mean() - 0.25 * 0.4) < 0.002
    assert abs(np.mean(phantoms.semi_axes) - 3 * 0.2) < 0.01
    assert np.min(phantoms.semi_axes) > 0
    assert abs(np.mean(np.abs(phantoms.centre)) - 1.5) < 0.01
    assert np.max(phantoms.centre) <= 3


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`n` is 0"):
        data.random_ellipses(jax.random.key(0), n=0)
    with pytest.raises(ValueError, match="`centre` has shape"):
        data.ellipses([1.0, 2.0], [(0, 0)], [(1, 1), (1, 1)])
    with pytest.raises(ValueError, match="`value` has shape"):
        data.ellipses([[1.0]], [(0, 0)], [(1, 1)])
    with pytest.raises(ValueError, match="`angle` has shape"):
        data.ellipses([1.0], [(0, 0)], [(1, 1)], [1.0, 2.0])
    with pytest.raises(ValueError, match="`rows` is 0"):
        data.area_average(tilted(), (4, 4), rows=0)
