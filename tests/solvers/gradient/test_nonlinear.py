"""Fast grams, nonlinear models and general smooth terms, against dense steps and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg

from jaxrecon import functionals as F
from jaxrecon.core import (
    LinearOperator,
    Operator,
    Problem,
    chain,
    diagonal,
    fft,
    gradient,
    identity,
    operator,
    pytree,
    run,
    stack,
    tree,
)
from jaxrecon.functionals._functional import Functional
from jaxrecon.physics import ct, mri
from jaxrecon.physics.nufft import nufft
from jaxrecon.solvers.gradient import (
    FISTA,
    LBFGS,
    POGM,
    Anderson,
    Backtracking,
    BarzilaiBorwein,
    GaussNewton,
    GradientDescent,
    LevenbergMarquardt,
)
from jaxrecon.solvers.gradient._grams import NormalForm, is_fast
from jaxrecon.solvers.gradient._smooth import composite, gradient_of
from tests.solvers.gradient.posed import KEYS, N_DATA, N
from tests.solvers.problems import Dense

# ------------------------------------------------------------------------------------------ grams


@operator
class Hidden(LinearOperator):
    """An operator whose fast gram nobody sees."""

    inner: LinearOperator

    @property
    def domain(self):
        return self.inner.domain

    @property
    def range(self):
        return self.inner.range

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)


def sense_operator():
    maps = jax.random.normal(KEYS[2], (3, 6, 8), "complex128")
    return mri.sense(maps, jax.random.uniform(KEYS[3], (6, 8)) < 0.6)


def grams(A, weights=None):
    """The structure of a gram, without computing it."""
    if weights is None:
        return jax.eval_shape(lambda A: A.gram, A)
    return jax.eval_shape(lambda A: A.weighted_gram(weights), A)


def test_which_grams_are_fast(x64):
    sense = sense_operator()
    trajectory = jax.random.uniform(KEYS[4], (20, 2), minval=-3, maxval=3)
    radial = nufft(trajectory, (6, 6))
    scan = ct.parallel_beam(jnp.linspace(0, 3, 5), (6, 6), n_bins=9)
    coils = diagonal(jnp.full((6, 6), 2.0 + 0j), radial.domain)
    for A in (sense, 3.0 * sense, radial @ coils, stack([sense, 2.0 * sense]), fft(sense.domain)):
        assert is_fast(grams(A)), A
    for A in (scan, gradient(scan.domain), scan @ identity(scan.domain), coils, Hidden(sense)):
        assert not is_fast(grams(A)), A
    assert is_fast(grams(radial @ coils, jnp.ones(20)))
    assert not is_fast(grams(sense, jnp.ones(sense.range.shape)))
    assert not is_fast(grams(0.5 * (3.0 * scan)))


def test_only_the_gram_is_applied(x64):
    """After `prepare`, neither A nor Aᴴ; the objective keeps its value."""
    sense = sense_operator()
    y, x = (tree.random_normal(KEYS[5], s) for s in (sense.range, sense.domain))
    problem = Problem(((F.LeastSquares(y), sense), (F.SquaredL2(0.1), identity(sense.domain))))
    prepared = composite(problem, 1.0)
    assert [type(f) for f, _ in prepared.terms] == [NormalForm, F.SquaredL2]
    np.testing.assert_allclose(prepared(x), problem(x), rtol=1e-12)
    np.testing.assert_allclose(gradient_of(prepared.terms, x), gradient_of(problem.terms, x))
    hidden = Problem(((F.LeastSquares(y), Hidden(sense)), problem.terms[1]))
    step = jax.jit(lambda problem: composite(problem, None).step)
    np.testing.assert_allclose(step(problem), step(hidden), rtol=1e-9)


@pytest.mark.parametrize("gradient_method", ["unrolled", "implicit"])
def test_grams_change_neither_result_nor_gradient(x64, gradient_method):
    sense = sense_operator()
    y = tree.random_normal(KEYS[5], sense.range)
    options = {"n_iter": 400 if gradient_method == "implicit" else 12, "gradient": gradient_method}

    def loss(A, y, weight):
        terms = ((F.LeastSquares(y), A), (F.SquaredL2(weight), identity(A.domain)))
        return jnp.sum(jnp.abs(run(FISTA(), Problem(terms), **options).value) ** 4)

    fast, fast_slopes = jax.value_and_grad(loss, (0, 1, 2), allow_int=True)(sense, y, 0.7)
    slow, slow_slopes = jax.value_and_grad(loss, (0, 1, 2), allow_int=True)(Hidden(sense), y, 0.7)
    np.testing.assert_allclose(fast, slow, rtol=1e-9)
    np.testing.assert_allclose(fast_slopes[0].maps, slow_slopes[0].inner.maps, rtol=1e-6, atol=1e-8)
    for a, b in zip(fast_slopes[1:], slow_slopes[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------- nonlinear and general smooth


@operator
class Intensity(Operator):
    """X ↦ |x|², which no holomorphic function gives."""

    @property
    def domain(self):
        return jax.ShapeDtypeStruct((N_DATA,), "complex128")

    @property
    def range(self):
        return jax.ShapeDtypeStruct((N_DATA,), "float64")

    def forward(self, x):
        return jnp.abs(x) ** 2

    def linearise(self, x):
        return self.forward(x), RealPart(x)


@operator
class RealPart(LinearOperator):
    """D ↦ 2 Re(conj(x) d)."""

    at: jax.Array

    @property
    def domain(self):
        return jax.ShapeDtypeStruct((N_DATA,), "complex128")

    @property
    def range(self):
        return jax.ShapeDtypeStruct((N_DATA,), "float64")

    def forward(self, x):
        return 2 * (jnp.conj(self.at) * x).real

    def adjoint(self, y):
        return 2 * self.at * y


def phase_retrieval():
    M = jax.random.normal(KEYS[0], (N_DATA, 3), "complex128")
    truth = jax.random.normal(KEYS[6], (3,), "complex128")
    A = chain(Intensity(), Dense(M))
    return Problem(((F.LeastSquares(A(truth)), A),)), truth


def test_phase_retrieval_gradient_and_solution(x64):
    problem, truth = phase_retrieval()
    x = truth + 0.1 * jax.random.normal(KEYS[7], (3,), "complex128")
    expected = jnp.conj(jax.grad(problem)(x))
    np.testing.assert_allclose(gradient_of(problem.terms, x), expected, rtol=1e-12)
    algorithms = (
        LevenbergMarquardt(),
        LBFGS(),
        GradientDescent(line_search=Backtracking()),
        Anderson(GradientDescent(1e-3)),
    )
    for algorithm, n_iter in zip(algorithms, (20, 60, 1500, 600), strict=True):
        found = run(algorithm, problem, x, n_iter=n_iter, tol=1e-9).value
        phase = jnp.vdot(found, truth) / jnp.abs(jnp.vdot(found, truth))
        np.testing.assert_allclose(found * phase, truth, rtol=1e-5)


@operator
class Decay(Operator):
    """(amplitude, rate) ↦ amplitude·exp(−rate·t), nonlinear in both."""

    times: jax.Array

    @property
    def domain(self):
        return jax.ShapeDtypeStruct((2,), self.times.dtype)

    @property
    def range(self):
        return jax.ShapeDtypeStruct(self.times.shape, self.times.dtype)

    def forward(self, x):
        return x[0] * jnp.exp(-x[1] * self.times)

    def linearise(self, x):
        e = jnp.exp(-x[1] * self.times)
        return x[0] * e, Dense(jnp.stack([e, -self.times * x[0] * e], 1))


@pytest.fixture
def decay(x64):
    t = jnp.linspace(0, 2, 12)
    noise = 0.05 * jax.random.normal(KEYS[1], (12,))
    y = 3.0 * jnp.exp(-1.7 * t) + noise
    return Decay(t), y


def test_nonlinear_least_squares_as_scipy(decay):
    A, y = decay
    problem, x0 = Problem(((F.LeastSquares(y), A),)), jnp.array([1.0, 0.2])
    expected = scipy.optimize.least_squares(lambda x: A(jnp.asarray(x)) - y, x0, xtol=1e-12).x
    methods = (LevenbergMarquardt(), GaussNewton(0.1), LBFGS(), BarzilaiBorwein())
    for algorithm in methods:
        result = run(algorithm, problem, x0, n_iter=100, tol=1e-8)
        np.testing.assert_allclose(result.check().value, expected, rtol=1e-6)


def test_newton_steps_are_the_dense_ones(decay):
    A, y = decay
    problem, x0 = Problem(((F.LeastSquares(y), A),)), jnp.array([1.0, 0.2])
    x, start, alphas = np.asarray(x0), np.asarray(x0), [0.5, 0.2, 0.1]
    for alpha in alphas:
        J = np.asarray(A.linearise(jnp.asarray(x))[1].matrix)
        rhs = -J.T @ (np.asarray(A(jnp.asarray(x))) - y) - alpha * (x - start)
        x = x + np.linalg.solve(J.T @ J + alpha * np.eye(2), rhs)
    inputs = {"damping": jnp.asarray(alphas)}
    algorithm = GaussNewton(inner_tol=1e-14)
    np.testing.assert_allclose(run(algorithm, problem, x0, n_iter=3, inputs=inputs).value, x)
    decayed = GaussNewton(0.8, decay=0.25, floor=0.1, inner_tol=1e-14)
    info = run(decayed, problem, x0, n_iter=4).info
    np.testing.assert_allclose(info.damping, [0.8, 0.2, 0.1, 0.1])


def test_levenberg_marquardt_survives_a_bad_start(x64):
    """Rosenbrock's valley as least squares, where plain Gauss-Newton's first step overshoots."""

    @operator
    class Valley(Operator):
        """X ↦ (10 (x₁ − x₀²), 1 − x₀)."""

        scale: float = 10.0

        @property
        def domain(self):
            return jax.ShapeDtypeStruct((2,), "float64")

        @property
        def range(self):
            return self.domain

        def forward(self, x):
            return jnp.stack([self.scale * (x[1] - x[0] ** 2), 1 - x[0]])

        def linearise(self, x):
            row = jnp.stack([-2 * self.scale * x[0], self.scale * jnp.ones(())])
            return self.forward(x), Dense(jnp.stack([row, jnp.array([-1.0, 0.0])]))

    problem = Problem(((F.LeastSquares(jnp.zeros(2)), Valley()),))
    x0 = jnp.array([-1.2, 1.0])
    for algorithm in (LevenbergMarquardt(), LBFGS()):
        result = run(algorithm, problem, x0, n_iter=80, tol=1e-9).check()
        np.testing.assert_allclose(result.value, [1.0, 1.0], rtol=1e-6)
    info = run(LevenbergMarquardt(), problem, x0, n_iter=30).info
    assert np.all(np.diff(info.objective) <= 1e-15), "an accepted step went uphill"


@pytree
class Logistic(Functional):
    """Σ log(1 + exp(−s·x)) with labels s = ±1: gradient and curvature from the base class."""

    smooth = True
    labels: jax.Array

    def __call__(self, x):
        return jnp.sum(jax.nn.softplus(-self.labels * x))

    def curvature_root(self, A):
        return 0.5 * A


def test_logistic_regression_as_scipy(quadratic):
    M, y, _ = quadratic
    A, labels = Dense(M), jnp.sign(y)
    problem = Problem(((Logistic(labels), A), (F.SquaredL2(0.1), identity(A.domain))))
    value = jax.jit(jax.value_and_grad(problem))
    reference = scipy.optimize.minimize(
        lambda x: tuple(np.asarray(v, float) for v in value(jnp.asarray(x))),
        np.zeros(N),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-10},
    )
    for algorithm in (LBFGS(), POGM(), LevenbergMarquardt(), FISTA(line_search=Backtracking())):
        found = run(algorithm, problem, n_iter=400, tol=1e-11).value
        np.testing.assert_allclose(found, reference.x, atol=1e-7)
