"""Derivatives in poses and images against finite differences in float64, and second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.functionals import LeastSquares, SquaredL2
from jaxrecon.physics import ct
from jaxrecon.solvers import FISTA

SHAPE, N_BINS = (11, 14), 19
ANGLES = np.linspace(0.13, 6.0, 7)


def parallel(angles, offset, pitch):
    return ct.parallel_beam(
        angles, SHAPE, N_BINS, pixel=0.8, bin_pitch=pitch, offset=offset, taps=2
    )


def fan(source, detector, axis):
    return ct.fan_from_poses(source, detector, axis, SHAPE, N_BINS, pixel=0.8, taps=4)


def poses(name):
    rng = np.random.default_rng(5)
    if name == "parallel":
        return jnp.asarray(ANGLES), jnp.asarray(rng.normal(size=7)), jnp.asarray(0.9 + ANGLES / 50)
    A = ct.fan_beam(
        ANGLES, SHAPE, N_BINS, source_origin=17.0, origin_detector=9.0, pixel=0.8, offset=0.4
    )
    return A.source, A.detector, A.axis


@pytest.mark.parametrize(("name", "make"), [("parallel", parallel), ("fan", fan)])
@pytest.mark.parametrize("which", ["forward", "adjoint"])
def test_poses(name, make, which, x64):
    rng = np.random.default_rng(7)
    x, y = jnp.asarray(rng.normal(size=SHAPE)), jnp.asarray(rng.normal(size=(7, N_BINS)))
    arrays = poses(name)

    @jax.jit
    def loss(arrays):
        A = make(*arrays)
        value = jnp.sin(A(x)) * y if which == "forward" else jnp.sin(A.H(y)) * x
        return jnp.sum(value)

    gradient = jax.grad(loss)(arrays)
    step = 1e-6
    for _ in range(3):
        direction = [jnp.asarray(rng.normal(size=a.shape)) for a in arrays]
        there, back = (
            loss(tuple(a + s * d for a, d in zip(arrays, direction, strict=True)))
            for s in (step, -step)
        )
        slope = sum(jnp.sum(g * d) for g, d in zip(gradient, direction, strict=True))
        np.testing.assert_allclose(slope, (there - back) / (2 * step), rtol=1e-6)


def test_through_the_factory(x64):
    """Distances and the offset of a fan beam, as numbers that are differentiated."""
    x = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))

    @jax.jit
    def loss(p):
        A = ct.fan_beam(
            ANGLES + p[0],
            SHAPE,
            N_BINS,
            source_origin=17.0 + p[1],
            origin_detector=9.0 + p[2],
            bin_pitch=1.0 + p[3],
            offset=p[4],
            taps=4,
        )
        return jnp.sum(A(x) ** 3)

    gradient = jax.grad(loss)(jnp.zeros(5))
    for k in range(5):
        h = 1e-6 * jnp.eye(5)[k]
        np.testing.assert_allclose(gradient[k], (loss(h) - loss(-h)) / 2e-6, rtol=1e-6)


def test_traced_static_facts_are_refused():
    def build(p):
        return ct.fan_beam(ANGLES, SHAPE, N_BINS, source_origin=p, origin_detector=9.0)(
            jnp.ones(SHAPE)
        ).sum()

    with pytest.raises(ValueError, match="`source_origin` is traced"):
        jax.grad(build)(17.0)


def test_gradient_of_a_gradient(x64):
    """A step of gradient descent, differentiated in the angles through projector and adjoint."""
    x = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))
    y = jnp.asarray(np.random.default_rng(3).normal(size=(7, N_BINS)))

    @jax.jit
    def after_a_step(angles):
        A = ct.parallel_beam(angles, SHAPE, N_BINS)
        step = jax.grad(lambda x: 0.5 * jnp.sum((A(x) - y) ** 2))(x)
        return jnp.sum((x - 0.1 * step) ** 2)

    gradient = jax.grad(after_a_step)(jnp.asarray(ANGLES))
    direction = jnp.asarray(np.random.default_rng(4).normal(size=7))
    there, back = (after_a_step(ANGLES + s * direction) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(gradient @ direction, (there - back) / 2e-6, rtol=1e-6)


def test_implicit_gradient_of_a_regularised_tomogram(x64):
    """Through the transposed system of a fixed point, though projectors cannot be transposed."""
    A = parallel(*poses("parallel"))
    matrix = np.asarray(core.materialise(A))
    y = jnp.asarray(np.random.default_rng(3).normal(size=(7, N_BINS)))
    normal = matrix.T @ matrix + 2.0 * np.eye(matrix.shape[1])

    def energy(y):
        problem = core.Problem(((LeastSquares(y), A), (SquaredL2(2.0), core.identity(A.domain))))
        options = {"n_iter": 2000, "tol": 1e-13, "gradient": "implicit"}
        return jnp.sum(core.run(FISTA(), problem, **options).value ** 2)

    image = np.linalg.solve(normal, matrix.T @ np.ravel(y))
    expected = 2 * matrix @ np.linalg.solve(normal, image)
    np.testing.assert_allclose(np.ravel(jax.grad(energy)(y)), expected, rtol=1e-6, atol=1e-9)
