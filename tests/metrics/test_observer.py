"""The Hotelling observer against closed forms: white and coloured Gaussian noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

from jaxrecon.metrics import detectability, hotelling_observer, laguerre_gauss

SHAPE, N = (24, 20), 4000


def test_laguerre_gauss_channels_are_orthonormal():
    channels = laguerre_gauss((40, 44), width=10.0, n=3, centre=(18.0, 23))
    products = np.einsum("iyx,jyx->ij", channels, channels)
    np.testing.assert_allclose(products, np.eye(3), atol=1e-3)
    assert np.unravel_index(np.argmax(channels[0]), (40, 44)) == (18, 23)


@pytest.fixture(scope="module")
def classes():
    """Coloured noise with and without a lesion, for training and for judging; the exact SNR."""
    channels = laguerre_gauss(SHAPE, width=8.0, n=4)
    mixing = np.asarray(channels).reshape(4, -1)
    signal = 1.5 * channels[0] - 0.5 * channels[1]
    # Noise with a covariance of its own among the channels, and white noise elsewhere.
    factor = np.array([[1.0, 0, 0, 0], [0.6, 0.8, 0, 0], [0.1, -0.4, 1.2, 0], [0, 0, 0.3, 0.5]])
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((4, N, 4)) @ factor.T @ mixing).reshape(4, N, *SHAPE)
    noise += 0.1 * rng.standard_normal(noise.shape)
    gram = mixing @ mixing.T
    covariance = gram @ factor @ factor.T @ gram + 0.01 * gram
    seen = mixing @ np.ravel(signal)
    exact = np.sqrt(seen @ np.linalg.solve(covariance, seen))
    train, test = (noise[0] + signal, noise[1]), (noise[2] + signal, noise[3])
    to_jax = lambda pair: tuple(jnp.asarray(x, jnp.float32) for x in pair)  # noqa: E731
    return channels, to_jax(train), to_jax(test), float(exact)


def test_the_snr_is_that_of_the_exact_template(classes):
    channels, train, test, exact = classes
    observer = hotelling_observer(train[0], train[1], channels)
    found = detectability(*map(observer, test))
    assert float(found.snr) == pytest.approx(exact, rel=0.04)
    assert float(found.auc) == pytest.approx(float(norm.cdf(exact / np.sqrt(2))), abs=0.01)


def test_few_training_images_flatter_the_observer(classes):
    channels, train, test, exact = classes
    few = [images[:12] for images in train]
    observer = hotelling_observer(few[0], few[1], channels)
    assert detectability(*map(observer, few)).snr > exact
    assert detectability(*map(observer, test)).snr < exact


def test_ties_count_half():
    assert float(detectability(jnp.array([1.0, 2.0]), jnp.array([1.0, 2.0])).auc) == 0.5


def test_transforms(classes):
    channels, train, test, _ = classes
    few = [images[:40] for images in (*train, *test)]

    def snr(gain, images):
        observer = hotelling_observer(gain * images[0], images[1], channels)
        return detectability(observer(gain * images[2]), observer(images[3])).snr

    value = snr(1.0, few)
    assert jax.jit(snr)(1.0, few) == pytest.approx(float(value), rel=1e-4)
    both = jax.vmap(snr, (0, None))(jnp.array([1.0, 1.1]), few)
    assert float(both[0]) == pytest.approx(float(value), rel=1e-4)
    slope = float(jax.grad(snr)(1.0, few))
    assert slope == pytest.approx(float(snr(1.01, few) - snr(0.99, few)) / 0.02, rel=0.02)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`width` is 0"):
        laguerre_gauss(SHAPE, width=0)
    images = jnp.zeros((2, *SHAPE))
    with pytest.raises(ValueError, match="`present` and `absent` have 2 and 2 images"):
        hotelling_observer(images, images, laguerre_gauss(SHAPE, width=4.0))
