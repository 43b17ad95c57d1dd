"""Norms and sets against other ways to compute them, and what functionals refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import identity
from tests.functionals.draws import normal, positive


def test_soft_threshold_gradient_is_finite_at_zero():
    for dtype in ("float32", "complex64"):
        for f in (F.L1(0.5), F.L2(0.5), F.L21(0.5), F.LInfBall(0.5), F.L1Ball(0.5)):
            total = lambda x, f=f: jnp.sum(jnp.abs(f.prox(x, 1.0)) ** 2)  # noqa: E731
            assert jnp.all(jnp.isfinite(jax.grad(total)(jnp.zeros(3, dtype))))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_simplex_by_bisection(axis, x64):
    """The projection is max(x − τ, 0) for the one τ that gives the total."""
    x = normal("float64", (4, 5, 3))
    low, high = x.min(axis, keepdims=True) - 2, x.max(axis, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        above = jnp.maximum(x - middle, 0).sum(axis, keepdims=True) > 1.7
        low, high = jnp.where(above, middle, low), jnp.where(above, high, middle)
    expected = jnp.maximum(x - low, 0)
    np.testing.assert_allclose(F.Simplex(1.7, axis).prox(x, 1.0), expected, atol=1e-12)


def test_indicators(x64):
    x = jnp.array([0.5, -0.5])
    for f, inside in (
        (F.LInfBall(0.5), True),
        (F.LInfBall(0.49), False),
        (F.L1Ball(1.0), True),
        (F.L1Ball(0.99), False),
        (F.Simplex(0.0), False),
        (F.non_negative(), False),
        (F.Box(-0.5, 0.5), True),
    ):
        assert (float(f(x)) == 0) is inside
        assert float(f(jnp.array([jnp.nan, 0.0]))) == jnp.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.L1().grad(jnp.ones(2)), "not smooth"),
        (lambda: F.Box(0.0).prox(jnp.ones(2, complex), 1.0), "complex"),
        (lambda: F.Simplex().prox(jnp.ones(2, complex), 1.0), "complex"),
        (lambda: F.LeastSquares(jnp.ones(5)).subset(0, 2), "does not divide"),
        (lambda: F.L1().subset(0, 2), "no subsets"),
        (lambda: F.L1().curvature_root(identity(jnp.ones(2))), "pass `step_size`"),
        (lambda: F.L1().normal(identity(jnp.ones(2))), "not quadratic"),
        (lambda: F.Poisson(jnp.ones(2)).curvature_root(identity(jnp.ones(2))), "`background`"),
        (lambda: F.StudentT(jnp.ones(2)).prox(jnp.ones(2), 1.0), "no proximal map"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_subsets_leave_alone_what_is_the_same_for_every_row(x64):
    y = normal("float64")
    f = F.LeastSquares(y, positive("float64", (6,)))
    rows = f.subset(1, 2)
    assert rows.data.shape == (2, 6)
    assert rows.weights is not None
    assert rows.weights.shape == (6,)
    sums = sum(jax.jit(lambda i: f.subset(i, 2)(y[:2]))(i) for i in range(2))
    np.testing.assert_allclose(sums, f(jnp.repeat(y[:2], 2, axis=0)), rtol=1e-12)
