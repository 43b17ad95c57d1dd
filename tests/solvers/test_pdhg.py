"""What PDHG does to save work leaves its iterates as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import LinearOperator, Problem, gradient, operator, run
from jaxrecon.physics import mri, optics
from jaxrecon.solvers import PDHG
from jaxrecon.solvers.splitting._blocks import ThroughGram

KEYS = jax.random.split(jax.random.key(6), 3)
STEPS = (0.3, (0.9, 0.3))


@operator
class Hidden(LinearOperator):
    """An operator without a gram of its own."""

    inner: LinearOperator
    domain = property(lambda self: self.inner.domain)
    range = property(lambda self: self.inner.range)

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)


def _models():
    blur = optics.blur(jnp.abs(jax.random.normal(KEYS[0], (3, 3))) / 9, jnp.zeros((8, 6)))
    maps = jax.random.normal(KEYS[1], (2, 8, 6), complex) / 2
    return {"blur": blur, "sense": mri.sense(maps, jax.random.bernoulli(KEYS[2], 0.5, (8, 6)))}


def _problem(A, factor=None):
    y = jax.random.normal(KEYS[2], A.range.shape, A.range.dtype)
    fidelity = F.LeastSquares(y) if factor is None else factor * F.LeastSquares(y)
    return Problem(((fidelity, A), (F.L21(0.1), gradient(A.domain))))


@pytest.mark.parametrize("factor", [None, 0.4])
@pytest.mark.parametrize("name", ["blur", "sense"])
def test_a_fit_through_its_gram_has_the_same_iterates(name, factor, x64):
    A, algorithm = _models()[name], PDHG(steps=STEPS)
    fast, plain = (algorithm.prepare(_problem(B, factor)).terms[0][1] for B in (A, Hidden(A)))
    assert isinstance(fast, ThroughGram)
    assert isinstance(plain, Hidden)
    values = [run(algorithm, _problem(B, factor), n_iter=15).value for B in (A, Hidden(A))]
    np.testing.assert_allclose(*values, rtol=1e-9, atol=1e-12)


def test_weighted_fits_keep_their_operator():
    A = _models()["blur"]
    weighted = Problem(((F.LeastSquares(jnp.zeros((8, 6)), jnp.ones((8, 6))), A),))
    assert PDHG().prepare(weighted).terms[0][1] is A


def test_looking_seldom_changes_no_iterate_and_stops_at_a_look(x64):
    problem = _problem(_models()["blur"])
    often, seldom = (
        run(PDHG(steps=STEPS, check_every=k), problem, n_iter=3000, tol=1e-4).check()
        for k in (1, 7)
    )
    n = int(often.n_iter)
    # Residuals oscillate, so the first look that meets the tolerance may come some looks later.
    assert int(seldom.n_iter) >= n
    assert int(seldom.n_iter) % 7 == 1
    assert seldom.info.residual[int(seldom.n_iter) - 1] <= 1e-4
    # The primal yardstick is the largest dual seen, so only the dual residual is the same.
    np.testing.assert_allclose(seldom.info.dual[7], often.info.dual[7], rtol=1e-9)
    np.testing.assert_array_equal(seldom.info.residual[7:14], seldom.info.residual[7])
    fixed = [run(PDHG(steps=STEPS, check_every=k), problem, n_iter=20).value for k in (1, 7)]
    np.testing.assert_allclose(*fixed, rtol=1e-12)


def test_steps_of_the_wrong_number_are_refused():
    with pytest.raises(ValueError, match="`steps` has 1 dual steps for 2"):
        run(PDHG(steps=(0.3, (0.9,))), _problem(_models()["blur"]), n_iter=1)
