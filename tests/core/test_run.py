"""The driver: three gradients that agree, stopping, status, mesh and batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import (
    Algorithm,
    NotConvergedError,
    Problem,
    from_function,
    identity,
    pytree,
    run,
)
from jaxrecon.functionals import L1, LeastSquares
from jaxrecon.physics import optics
from jaxrecon.solvers import FISTA, PDHG, ConjugateGradient, ProximalGradient

N_DATA, N_IMAGE = 9, 5


class _Info(NamedTuple):
    residual: jax.Array


def _apply(M, x):
    return jnp.matmul(M, x, precision="highest")


def lasso(M, y, weight):
    domain = jax.ShapeDtypeStruct((N_IMAGE,), M.dtype)
    A = from_function(_apply, domain, M)
    return Problem(((LeastSquares(y), A), (L1(weight), identity(domain))))


@pytest.fixture
def arrays(x64):
    key_m, key_y = jax.random.split(jax.random.key(5))
    M = jax.random.normal(key_m, (N_DATA, N_IMAGE), jnp.complex128)
    return M, jax.random.normal(key_y, (N_DATA,), jnp.complex128), jnp.asarray(2.0)


def _loss(gradient, M, y, weight, n_iter=300):
    x0 = jnp.zeros(N_IMAGE, M.dtype)
    result = run(FISTA(), lasso(M, y, weight), x0, n_iter=n_iter, tol=1e-14, gradient=gradient)
    return jnp.sum(jnp.abs(result.value) ** 4)


def test_implicit_equals_unrolled_and_finite_differences(arrays):
    grad = lambda g: jax.grad(lambda *a: _loss(g, *a), (0, 1, 2))(*arrays)  # noqa: E731
    implicit, unrolled = grad("implicit"), grad("unrolled")
    for a, b in zip(implicit, unrolled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    M, y, weight = arrays
    h = 1e-6
    numeric = (_loss("none", M, y, weight + h) - _loss("none", M, y, weight - h)) / (2 * h)
    np.testing.assert_allclose(implicit[2], numeric, rtol=1e-6)


@pytest.mark.parametrize("remat", [True, False])
def test_unrolled_gradient_does_not_depend_on_remat(arrays, remat):
    M, y, weight = arrays

    def loss(y):
        x0 = jnp.zeros(N_IMAGE, M.dtype)
        result = run(FISTA(), lasso(M, y, weight), x0, n_iter=5, gradient="unrolled", remat=remat)
        return jnp.sum(jnp.abs(result.value) ** 2)

    direction = jnp.exp(1j * jnp.arange(N_DATA))
    h = 1e-6
    numeric = (loss(y + h * direction) - loss(y - h * direction)) / (2 * h)
    exact = jnp.vdot(jnp.conj(jax.grad(loss)(y)), direction).real
    np.testing.assert_allclose(exact, numeric, rtol=1e-7)


def test_memory_of_a_gradient_by_iterations():
    """Temporaries at K = 4, 16, 64 iterations: flat for implicit, growing for unrolled."""
    shape = (48, 48)
    blur = optics.blur(optics.gaussian_kernel((5, 5), 1.0), jax.ShapeDtypeStruct(shape, "float32"))

    def loss(y, n_iter, gradient):
        problem = Problem(((LeastSquares(y), blur), (L1(0.1), identity(blur.domain))))
        return jnp.sum(run(PDHG(), problem, n_iter=n_iter, gradient=gradient).value ** 2)

    def images(n_iter, gradient):
        f = jax.jit(jax.grad(lambda y: loss(y, n_iter, gradient)))
        analysis = f.lower(jnp.zeros(shape)).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes / (4 * np.prod(shape))

    implicit = [images(n_iter, "implicit") for n_iter in (4, 16, 64)]
    assert max(implicit) - min(implicit) < 0.5, implicit
    assert images(64, "unrolled") - images(4, "unrolled") > 100


def test_failed_adjoint_solve_is_nan(arrays):
    from jaxrecon.core import AdjointSolve

    def loss(y):
        hopeless = AdjointSolve(restart=1, n_restarts=1, accept=1e-12)
        x0 = jnp.zeros(N_IMAGE, y.dtype)
        problem = lasso(arrays[0], y, arrays[2])
        options = {"n_iter": 300, "gradient": "implicit", "adjoint_solve": hopeless}
        return jnp.sum(jnp.abs(run(FISTA(), problem, x0, **options).value) ** 2)

    assert jnp.all(jnp.isnan(jax.grad(loss)(arrays[1])))


def test_stops_at_tolerance_and_keeps_history(arrays):
    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    result = run(FISTA(), lasso(*arrays), x0, n_iter=500, tol=1e-10).check()
    n = int(result.n_iter)
    assert n < 500
    residuals = result.info.residual
    assert residuals[n - 1] <= 1e-10 < residuals[n - 2]
    assert jnp.all(jnp.isnan(residuals[n:]))
    frozen = run(FISTA(), lasso(*arrays), x0, n_iter=500, tol=1e-10, gradient="unrolled")
    assert int(frozen.n_iter) == n
    np.testing.assert_array_equal(frozen.value, result.value)


def test_status_and_its_advice(arrays):
    M, y, weight = arrays
    x0 = jnp.zeros(N_IMAGE, M.dtype)
    short = run(FISTA(), lasso(*arrays), x0, n_iter=2, tol=1e-12)
    with pytest.raises(NotConvergedError, match="raise `n_iter`"):
        short.check()
    broken = run(FISTA(), lasso(M, y * jnp.nan, weight), x0, n_iter=9)
    assert int(broken.n_iter) == 1
    with pytest.raises(NotConvergedError, match="not finite"):
        broken.check()
    run(FISTA(), lasso(*arrays), x0, n_iter=2).check()


def test_vmap_stops_each_problem_by_itself(arrays):
    M, y, weight = arrays
    solve = lambda y: run(  # noqa: E731
        FISTA(), lasso(M, y, weight), jnp.zeros(N_IMAGE, M.dtype), n_iter=500, tol=1e-8
    )
    batch = jnp.stack([y, 0.5 * y, 3.0 * y[::-1]])
    together = jax.jit(jax.vmap(solve))(batch)
    alone = [solve(y) for y in batch]
    np.testing.assert_array_equal(together.n_iter, [r.n_iter for r in alone])
    np.testing.assert_allclose(together.value, jnp.stack([r.value for r in alone]), rtol=1e-12)


@pytest.mark.parametrize("gradient", ["none", "unrolled", "implicit"])
def test_a_rule_stops_the_run(arrays, gradient):
    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    rule = lambda problem, x, info: problem(x) < 3.65  # noqa: E731
    objective = lambda problem, x: problem(x)  # noqa: E731
    options = {"n_iter": 50, "stop": rule, "record": objective, "gradient": gradient}
    result = run(ProximalGradient(), lasso(*arrays), x0, **options).check()
    n = int(result.n_iter)
    assert 1 < n < 50
    assert result.record[n - 1] < 3.65 <= result.record[n - 2]
    assert jnp.all(jnp.isnan(result.record[n:]))
    assert "rule" in result.status.advice
    never = run(FISTA(), lasso(*arrays), x0, n_iter=3, stop=lambda problem, x, info: False)
    assert "stopping rule" in never.status.advice


def test_a_rule_may_carry_data(arrays):
    """Another level stops elsewhere without another trace."""
    traces = 0

    @pytree
    class Below:
        level: jax.Array

        def __call__(self, problem, x, info):
            nonlocal traces
            traces += 1
            return problem(x) < self.level

    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    go = lambda level: run(FISTA(), lasso(*arrays), x0, n_iter=50, stop=Below(level))  # noqa: E731
    loose = go(jnp.asarray(3.7)).n_iter
    before = traces
    assert go(jnp.asarray(3.65)).n_iter > loose
    assert traces == before


def test_steps_written_out_give_the_same(arrays):
    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    values = [
        run(FISTA(), lasso(*arrays), x0, n_iter=6, gradient="unrolled", unroll=u).value
        for u in (1, 3, "auto")
    ]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-12)
    np.testing.assert_allclose(values[2], values[0], rtol=1e-12)


def test_inputs_are_sliced_per_iteration(arrays):
    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    steps = jnp.array([0.01, 0.02, 0.03])
    result = run(ProximalGradient(1.0), lasso(*arrays), x0, n_iter=3, inputs={"step": steps})
    np.testing.assert_allclose(result.info.step, steps)


def test_progress_reports_every_step(arrays):
    seen = []
    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    report = lambda i, info: seen.append(int(i))  # noqa: E731
    run(FISTA(), lasso(*arrays), x0, n_iter=4, progress=report)
    jax.effects_barrier()
    assert sorted(seen) == [0, 1, 2, 3]


def test_progress_bar(arrays, capfd):
    x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
    go = lambda: run(FISTA(), lasso(*arrays), x0, n_iter=40, tol=1e-3, progress=True)  # noqa: E731
    n = int(jax.jit(go)().n_iter)
    jax.effects_barrier()
    assert f"{n}/40 residual" in capfd.readouterr().err
    go()
    jax.effects_barrier()
    assert f"{n}/40 residual" in capfd.readouterr().err, "the bar does not start again"


def test_hyperparameters_are_data(arrays):
    """A new step size does not compile again, and has a gradient."""
    traces = 0

    @jax.jit
    def final(algorithm):
        nonlocal traces
        traces += 1
        x0 = jnp.zeros(N_IMAGE, arrays[0].dtype)
        return run(algorithm, lasso(*arrays), x0, n_iter=3, gradient="unrolled").value

    a, b = final(ProximalGradient(0.01)), final(ProximalGradient(0.02))
    assert traces == 1
    assert not jnp.allclose(a, b)


@pytree
class Idle(Algorithm):
    """Stays where it is, and has no fixed-point map."""

    def init(self, problem, x0, *, key=None):
        return x0

    def step(self, problem, state, inputs):
        return state, _Info(jnp.ones(()))

    def value(self, state):
        return state


def test_no_fixed_point_is_said_by_name(arrays):
    def loss(y):
        problem = lasso(arrays[0], y, 1.0)
        return jnp.sum(jnp.abs(run(Idle(), problem, n_iter=5, gradient="implicit").value))

    with pytest.raises(ValueError, match=r"Idle.*momentum-free"):
        jax.grad(loss)(arrays[1])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_iter": 0}, "n_iter"),
        ({"n_iter": 3, "gradient": "magic"}, "gradient"),
        ({"n_iter": 3, "gradient": "unrolled", "unroll": "all"}, "unroll"),
        ({"n_iter": 3, "inputs": {"step": jnp.ones(2)}}, "inputs"),
    ],
)
def test_bad_arguments_are_named(options, name):
    problem = lasso(jnp.ones((N_DATA, N_IMAGE)), jnp.ones(N_DATA), 1.0)
    with pytest.raises((ValueError, TypeError), match=name):
        run(FISTA(), problem, jnp.zeros(N_IMAGE), **options)


def test_implicit_conjugate_gradient(arrays):
    """The Jacobian of a converged CG step is zero; that of its fixed point is not."""
    M, y, _ = arrays

    def loss(y, gradient):
        domain = jax.ShapeDtypeStruct((N_IMAGE,), M.dtype)
        problem = Problem(((LeastSquares(y), from_function(_apply, domain, M)),))
        x0 = jnp.zeros(N_IMAGE, M.dtype)
        result = run(ConjugateGradient(), problem, x0, n_iter=40, tol=1e-13, gradient=gradient)
        return jnp.sum(jnp.abs(result.value) ** 4)

    dense = lambda y: jnp.sum(jnp.abs(jnp.linalg.lstsq(M, y)[0]) ** 4)  # noqa: E731
    np.testing.assert_allclose(
        jax.grad(loss)(y, "implicit"), jax.grad(dense)(y), rtol=1e-5, atol=1e-9
    )


def test_a_second_scan_does_not_compile_again(arrays):
    M, y, weight = arrays
    steps = 0

    @pytree
    class Counting(Algorithm):
        def init(self, problem, x0, *, key=None):
            return x0

        def step(self, problem, state, inputs):
            nonlocal steps
            steps += 1
            return state, _Info(jnp.ones(()))

        def value(self, state):
            return state

    for factor in (1.0, 2.0):
        run(Counting(), lasso(factor * M, y, weight), y, n_iter=2)
        seen = steps if factor == 1.0 else seen
    assert steps == seen
