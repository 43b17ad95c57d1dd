"""The methods' own units: one default strength serves scans of any scale."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.cli.methods import Measurement, find_method
from jaxrecon.cli.methods._units import normalised
from jaxrecon.core import norm
from jaxrecon.physics import ct

N = 24


def measurement(image: np.ndarray, weights: float | None = None) -> Measurement:
    angles = jnp.linspace(0, np.pi, 30, endpoint=False)
    A = ct.parallel_beam(angles, (N, N), N)
    data = A(jnp.asarray(image, jnp.float32))
    w = None if weights is None else jnp.full_like(data, weights)
    return Measurement(operator=A, data=data, weights=w)


def disc(radius: float, value: float = 1.0) -> np.ndarray:
    y, x = np.indices((N, N)) - (N - 1) / 2
    return np.where(np.hypot(x, y) < radius, value, 0.0)


@pytest.mark.parametrize("weights", [None, 0.25])
def test_units_are_those_of_the_first_image(key, weights):
    image = jnp.asarray(disc(8, 3.0))
    scan = measurement(disc(8, 3.0), weights)
    A, data, size, _ = normalised(scan, image)
    assert float(size) == 3.0  # its 99th percentile
    assert 0.95 < float(norm(A, key, n_iter=50, tol=1e-3).value) <= 1
    np.testing.assert_allclose(A(image / size), data, rtol=1e-5, atol=1e-6)


def test_a_small_object_has_the_size_of_its_maximum():
    """Fewer than 1 % of the pixels: their 99th percentile is zero."""
    image = np.zeros((N, N), np.float32)
    image[10, 9:11] = 0.5, 2.0
    assert np.percentile(image, 99.0) == 0
    A, data, size, _ = normalised(measurement(image), jnp.asarray(image))
    assert float(size) == 2.0
    np.testing.assert_allclose(A(jnp.asarray(image) / size), data, rtol=1e-5, atol=1e-6)


def test_a_complex_image_has_the_size_of_its_magnitude():
    scan = measurement(disc(8))
    _, _, size, _ = normalised(scan, jnp.asarray(disc(8) * 3j, jnp.complex64))
    assert float(size) == 3.0


def test_an_image_of_zeros_is_refused():
    with pytest.raises(ValueError, match="zero everywhere"):
        normalised(measurement(disc(8)), jnp.zeros((N, N)))


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_a_scan_of_another_scale_gives_the_image_of_that_scale(scale):
    tv = find_method("ct", "tv")
    image = tv(measurement(disc(8)), n_iter=5, strength=0.01).image
    scaled = tv(measurement(disc(8, scale)), n_iter=5, strength=0.01).image
    np.testing.assert_allclose(scaled / scale, image, rtol=1e-3, atol=1e-4)


def test_data_without_signal_are_refused():
    with pytest.raises(ValueError, match="no signal"):
        find_method("ct", "tv")(measurement(np.zeros((N, N))))
