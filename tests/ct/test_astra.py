"""Geometry and values against the ASTRA toolbox, on an image without symmetry."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.physics import ct

astra = pytest.importorskip("astra", reason="the ASTRA toolbox is not installed")

ANGLES = np.linspace(0.1, 6.2, 19)


def volume(n_y, n_x, pixel):
    y, x = n_y * pixel / 2, n_x * pixel / 2
    return astra.create_vol_geom(n_y, n_x, -x, x, -y, y)


def astra_sinogram(kind, projection, vol, image):
    projector = astra.create_projector(kind, projection, vol)
    identifier, sinogram = astra.create_sino(image, projector)
    astra.data2d.delete(identifier)
    astra.projector.delete(projector)
    return sinogram


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(("n_y", "n_x", "pixel", "pitch"), [(40, 56, 1.0, 1.0), (33, 24, 0.5, 0.8)])
def test_parallel_agrees_with_linear(n_y, n_x, pixel, pitch):
    image = np.random.default_rng(1).random((n_y, n_x), np.float32)
    vol = volume(n_y, n_x, pixel)
    projection = astra.create_proj_geom("parallel", pitch, 70, ANGLES)
    truth = astra_sinogram("linear", projection, vol, image)
    assert distance(ct.from_astra(projection, vol)(jnp.asarray(image)), truth) < 1e-4
    # As vectors, the detector shifted by three bins.
    shifted = astra.geom_postalignment(astra.geom_2vec(projection), 3.0)
    A = ct.from_astra(shifted, vol)
    np.testing.assert_allclose(A(jnp.asarray(image))[:, :-3], truth[:, 3:], atol=1e-4 * truth.max())


@pytest.mark.parametrize("source", [60.0, 300.0])
def test_fan_agrees_with_strips(source):
    """A smooth image, since ASTRA's fan beam has chords and areas, not Joseph's weights.

    The fan of the nearer source is 80 degrees wide, with both dominant axes in one view.
    """
    y, x = np.mgrid[:90, :80].astype(np.float32)
    blob = np.exp(-((y - 30) ** 2) / 90 - (x - 50) ** 2 / 150)
    image = blob + 0.5 * np.exp(-((y - 60) ** 2 + (x - 25) ** 2) / 60)
    vol = volume(90, 80, 0.5)
    projection = astra.create_proj_geom("fanflat", 1.0, 150, ANGLES, source, 30.0)
    truth = astra_sinogram("strip_fanflat", projection, vol, image)
    for geometry in (projection, astra.geom_2vec(projection)):
        assert distance(ct.from_astra(geometry, vol)(jnp.asarray(image)), truth) < 3e-3


def test_unsupported_geometry_is_named():
    with pytest.raises(ValueError, match="'cone'"):
        ct.from_astra({"type": "cone", "DetectorCount": 1}, volume(4, 4, 1.0))
    with pytest.raises(ValueError, match="square pixels"):
        ct.from_astra(
            astra.create_proj_geom("parallel", 1.0, 4, [0.0]),
            astra.create_vol_geom(4, 4, 0, 4, -2, 2),
        )
