"""Non-Cartesian SENSE against explicit sums, and CG on its convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.core import Problem, run
from jaxrecon.functionals import LeastSquares, SquaredL2
from jaxrecon.physics import mri
from jaxrecon.solvers import ConjugateGradient
from tests.nufft import dft

SHAPE = (12, 10)


@pytest.fixture
def maps():
    return mri.birdcage_maps(4, SHAPE)


@pytest.fixture
def trajectory():
    return mri.trajectories.radial(7, 12, SHAPE, order="golden")


def test_explicit_sum(maps, trajectory):
    A = mri.noncartesian_sense(maps, trajectory, backend="xla")
    _, image, _ = dft.draws(SHAPE, 1, "float32")
    E = dft.matrix(trajectory, SHAPE)
    expected = (np.asarray(maps * image).reshape(4, -1) @ E.T).reshape(4, 7, 12)
    assert dft.error(A(image), expected) < 1e-4


def test_two_sets_of_maps(maps, trajectory):
    both = jnp.stack([maps, 1j * maps[::-1]])
    A = mri.noncartesian_sense(both, trajectory, backend="xla", eps=1e-6)
    one, two = (mri.noncartesian_sense(m, trajectory, backend="xla", eps=1e-6) for m in both)
    _, images, _ = dft.draws(SHAPE, 1, "float32", batch=(2,))
    assert A.domain.shape == (2, *SHAPE)
    assert dft.error(A(images), one(images[0]) + two(images[1])) < 1e-5
    assert dft.error(A.gram(images), A.H(A(images))) < 1e-5


def test_gram_is_one_convolution(maps, trajectory):
    A = mri.noncartesian_sense(maps, trajectory, backend="xla", eps=1e-6)
    _, image, data = dft.draws(SHAPE, 84, "float32", batch=())
    weights = jnp.abs(data).reshape(7, 12)
    assert "Toeplitz" in repr(A.gram)
    assert "Toeplitz" in repr(A.weighted_gram(weights))
    assert dft.error(A.weighted_gram(weights)(image), A.H(weights * A(image))) < 1e-5


def test_conjugate_gradients_recover_the_image(maps, x64):
    """Weighted, regularised least squares: CG meets the dense solution."""
    spokes = mri.trajectories.radial(9, 12, SHAPE, order="golden")
    A = mri.noncartesian_sense(maps.astype(complex), spokes, backend="xla", eps=1e-10)
    _, image, _ = dft.draws(SHAPE, 1, "float64")
    data, weights = A(image), 1 + jnp.abs(spokes[..., 0])
    problem = Problem(
        ((LeastSquares(data, weights), A), (SquaredL2(1e-3), core.identity(A.domain)))
    )
    result = run(ConjugateGradient(), problem, n_iter=400, tol=1e-10).check()
    E = dft.matrix(spokes, SHAPE)
    dense = np.concatenate([E * np.asarray(m).ravel() for m in maps])
    w = np.tile(np.asarray(weights).ravel(), 4)
    normal = dense.conj().T @ (w[:, None] * dense) + 1e-3 * np.eye(dense.shape[1])
    expected = np.linalg.solve(normal, dense.conj().T @ (w * np.asarray(data).ravel()))
    assert dft.error(result.value, expected) < 1e-7


def test_gram_is_computed_once(maps, trajectory):
    """The loop of CG holds no transform of the trajectory's points, only the convolution."""
    A = mri.noncartesian_sense(maps, trajectory, backend="dft")
    problem = Problem(((LeastSquares(jnp.ones(A.range.shape, complex)), A),))
    jaxpr = jax.make_jaxpr(lambda p: run(ConjugateGradient(), p, n_iter=3).value)(problem)
    loops = _loops(jaxpr.jaxpr)
    assert "fft" in loops[-1]
    assert "cos" not in loops[-1]  # of the points' phases


def _loops(jaxpr) -> list[str]:
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "while":
            found.append(str(eqn.params["body_jaxpr"]))
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if eqn.primitive.name != "while" and hasattr(inner, "eqns"):
                found += _loops(inner)
    return found


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((4, 12, 10), int), "`maps` has dtype int"),
        (np.ones((12, 10), complex), "`maps` has shape"),
        (np.ones((1, 1, 4, 12, 10), complex), "`maps` has shape"),
    ],
)
def test_bad_maps_are_named(maps, message, trajectory):
    with pytest.raises(ValueError, match=message):
        mri.noncartesian_sense(maps, trajectory)
