"""Row actions and ordered subsets against explicit recursions, and what each method promises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import Problem, gradient, identity, run
from jaxrecon.functionals.fidelities import Poisson
from jaxrecon.physics import ct
from jaxrecon.solvers import subsets
from jaxrecon.solvers.subsets import MLEM, OSEM, OSSQS, SART, SIRT, Kaczmarz, MirrorDescent
from tests.solvers.problems import Dense

KEYS = jax.random.split(jax.random.key(29), 6)


@pytest.fixture
def positive(x64):
    """A nonnegative matrix with an empty row and an unseen pixel, consistent data."""
    M = jnp.abs(jax.random.normal(KEYS[0], (12, 5))).at[4].set(0).at[:, 2].set(0)
    return M, M @ jnp.array([1.0, 0.5, 2.0, 0.1, 3.0])


def posed(M, y, *others, fidelity: Any = F.LeastSquares):
    A = Dense(M)
    return Problem(((fidelity(y), A), *((f, identity(A.domain)) for f in others)))


def inverted(a):
    return np.divide(1, a, out=np.zeros_like(a), where=a > 0)


# -------------------------------------------------------------------------------------- subsets


@pytest.mark.parametrize("order", ["sequential", "bit_reversed", "golden"])
@pytest.mark.parametrize("n", [1, 6, 8, 13])
def test_orders_are_permutations(order, n):
    assert sorted(subsets.subset_order(order, n).tolist()) == list(range(n))


def test_random_order_takes_each_once_a_round():
    draw = jax.vmap(lambda k: subsets.subset_index("random", 7, k, KEYS[0]))
    rounds = draw(jnp.arange(21)).reshape(3, 7)
    assert np.array_equal(np.sort(rounds, 1), np.tile(np.arange(7), (3, 1)))
    assert not np.array_equal(rounds[0], rounds[1])
    with pytest.raises(ValueError, match="needs a `key`"):
        subsets.subset_index("random", 7, 0, None)
    with pytest.raises(ValueError, match="'golden'"):
        subsets.subset_order("backwards", 7)


def test_parts_of_a_problem_sum_to_it(x64):
    M, x = jax.random.normal(KEYS[1], (12, 5)), jnp.arange(5.0)
    problem = posed(M, jnp.ones(12), F.SquaredL2(2.0), F.L1(0.3))
    part = jax.jit(lambda i: subsets.subset_problem(problem, i, 4)(x))
    np.testing.assert_allclose(sum(part(i) for i in range(4)), problem(x))
    with pytest.raises(ValueError, match="does not divide"):
        subsets.subset_problem(problem, 0, 5)


# ----------------------------------------------------------------------------------- row actions


@pytest.mark.parametrize("n", [1, 4, 12])
def test_sirt_and_sart_are_the_explicit_recursion(n, positive):
    """With relaxation and positivity; an empty row and an unseen pixel do no harm."""
    M, y = positive[0], positive[1] - 0.5
    algorithm = SIRT(0.8) if n == 1 else SART(None if n == 12 else n, 0.8, "sequential")
    got = run(algorithm, posed(M, y, F.non_negative()), jnp.ones(5), n_iter=2 * n + 1).value
    M, y, x = np.asarray(M), np.asarray(y), np.ones(5)
    for k in range(2 * n + 1):
        A, b = M[k % n :: n], y[k % n :: n]
        rays, pixels = inverted(A.sum(1)), inverted(A.sum(0))
        x = np.maximum(x + 0.8 * pixels * (A.T @ (rays * (b - A @ x))), 0)
    np.testing.assert_allclose(got, x, rtol=1e-12)


def test_many_subsets_are_not_kept_but_give_the_same(x64, monkeypatch):
    from jaxrecon.solvers.subsets import _problem

    M = jnp.abs(jax.random.normal(KEYS[0], (12, 5)))
    counts = posed(M, M @ jnp.ones(5), fidelity=Poisson)
    least = posed(M, M @ jnp.arange(5.0))
    for algorithm, problem in ((SART(6), least), (OSEM(6), counts)):
        kept = run(algorithm, problem, n_iter=7).value
        with monkeypatch.context() as patch:
            patch.setattr(_problem, "_STORED_SUBSETS", 0)
            prepared = algorithm.prepare(problem)
            state = algorithm.init(prepared, jnp.zeros(5))
            for _ in range(7):
                state, _ = algorithm.step(prepared, state, None)
        np.testing.assert_allclose(state.x, kept, rtol=1e-12)


def test_sirt_converges_to_its_weighted_solution_with_an_implicit_gradient(x64):
    M = jnp.abs(jax.random.normal(KEYS[2], (12, 5)))
    y = jax.random.normal(KEYS[3], (12,))

    def through(y, gradient):
        result = run(SIRT(1.5), posed(M, y), n_iter=5000, tol=1e-14, gradient=gradient)
        return jnp.sum(result.value**3)

    def direct(y):
        R = jnp.diag(1 / M.sum(1))
        return jnp.sum(jnp.linalg.solve(M.T @ R @ M, M.T @ R @ y) ** 3)

    np.testing.assert_allclose(through(y, "none"), direct(y), rtol=1e-8)
    np.testing.assert_allclose(
        jax.grad(through)(y, "implicit"), jax.grad(direct)(y), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("n", [12, 3])
def test_kaczmarz_is_a_loop_over_rows(dtype, n, x64):
    M = jax.random.normal(KEYS[0], (12, 7), dtype).at[5].set(0)
    y = jax.random.normal(KEYS[1], (12,), dtype)
    algorithm = Kaczmarz(n, 0.7, "sequential", inner_tol=1e-13)
    got = run(algorithm, posed(M, y), n_iter=2 * n).value
    x = np.zeros(7, dtype)
    for k in range(2 * n):
        A, b = np.asarray(M[k % n :: n]), np.asarray(y[k % n :: n])
        x = x + 0.7 * np.linalg.pinv(A) @ (b - A @ x)
    np.testing.assert_allclose(got, x, rtol=1e-9)


@pytest.mark.parametrize("order", ["golden", "random", "weighted"])
def test_kaczmarz_finds_the_nearest_solution(order, x64):
    """Of consistent data with fewer rows than unknowns; rows of different sizes."""
    M = jax.random.normal(KEYS[0], (5, 7)) * jnp.linspace(1, 2, 5)[:, None]
    y = M @ jnp.arange(7.0)
    result = run(Kaczmarz(order=order), posed(M, y), n_iter=8000, key=KEYS[4])
    np.testing.assert_allclose(result.value, jnp.linalg.pinv(M) @ y, rtol=1e-7)


def test_weighted_draws_follow_the_sizes_of_the_rows(x64):
    M = jnp.diag(jnp.array([1.0, 2.0, 3.0]))
    info = run(Kaczmarz(order="weighted"), posed(M, jnp.ones(3)), n_iter=3000, key=KEYS[4]).info
    shares = np.bincount(info.subset) / 3000
    np.testing.assert_allclose(shares, np.array([1, 4, 9]) / 14, atol=0.03)


# ------------------------------------------------------------------------------------------- EM


def poisson_problem(M, *others, background=0.0):
    truth = jnp.arange(1.0, M.shape[1] + 1)
    y = jax.random.poisson(KEYS[4], 3 * (M @ truth)).astype(M.dtype)
    A = Dense(M)
    return Problem(((Poisson(y, background), A), *others)), y


def test_mlem_is_the_explicit_recursion_and_climbs(positive):
    M, _ = positive
    problem, y = poisson_problem(M, background=0.4)
    result, x, last = [], np.ones(5), np.inf
    for k in range(6):
        result = run(MLEM(), problem, jnp.ones(5), n_iter=k + 1).value
        x = x * (np.asarray(M).T @ (y / (M @ x + 0.4))) * inverted(np.asarray(M).sum(0))
        np.testing.assert_allclose(result, x, rtol=1e-10)
        value = float(problem(result))
        assert value < last
        last = value


def test_mlem_keeps_the_counts(positive):
    M, _ = positive
    problem, y = poisson_problem(M)
    x = run(MLEM(), problem, n_iter=1).value
    np.testing.assert_allclose(jnp.sum(M @ x), jnp.sum(y), rtol=1e-12)
    start = MLEM().init(problem, jnp.zeros(5)).x
    np.testing.assert_allclose(jnp.sum(M @ start), jnp.sum(y), rtol=1e-12)
    assert float(jnp.min(start)) > 0


def test_osem_with_one_subset_is_mlem_and_with_more_is_faster(x64):
    M = jnp.abs(jax.random.normal(KEYS[0], (12, 5))) + 0.1
    problem, _ = poisson_problem(M, background=0.4)
    one = run(OSEM(1), problem, n_iter=5).value
    np.testing.assert_allclose(one, run(MLEM(), problem, n_iter=5).value, rtol=1e-12)
    # Data without noise: the divergence of two rounds through them, in 1 and in 3 subsets.
    exact = posed(M, M @ jnp.arange(1.0, 6), fidelity=Poisson)
    left = [float(exact(run(a, exact, n_iter=n).value)) for a, n in ((MLEM(), 2), (OSEM(3), 6))]
    assert left[1] < 0.7 * left[0]


def test_em_with_a_prior_reaches_the_penalised_optimum(x64):
    """0 = Mᵀ(1 − y/(Mx + b)) + w DᵀDx, a prior whose slope has both signs; one step late."""
    M = jnp.abs(jax.random.normal(KEYS[0], (12, 5))) + 0.1
    D = gradient(jnp.zeros(5))
    problem, y = poisson_problem(M, (F.SquaredL2(0.2), D), background=0.4)
    x = run(MLEM(), problem, n_iter=20000, tol=1e-14).check().value
    slope = M.T @ (1 - y / (M @ x + 0.4)) + 0.2 * D.H(D(x))
    assert float(x.min()) > 0
    np.testing.assert_allclose(slope, 0, atol=1e-9)
    tight = Problem((*problem.terms, (F.Box(0.0, 2.5), identity(jnp.zeros(5)))))
    assert float(run(OSEM(3), tight, n_iter=9).value.max()) <= 2.5


# ---------------------------------------------------------------------- surrogates, mirror descent


def pwls(M, y, w):
    A = Dense(M)
    D = gradient(jnp.zeros(5))
    box = (F.non_negative(), identity(A.domain))
    return Problem(((F.LeastSquares(y, w), A), (F.SquaredL2(0.3), D), box))


def test_sqs_descends_to_the_constrained_optimum(x64):
    """Karush-Kuhn-Tucker conditions; every step goes down; momentum gets there too, sooner."""
    M, y = jnp.abs(jax.random.normal(KEYS[0], (12, 5))), jax.random.normal(KEYS[1], (12,))
    w = jnp.linspace(0.2, 2, 12)
    problem = pwls(M, y, w)
    results = [run(OSSQS(momentum=m), problem, n_iter=20000, tol=1e-14) for m in (False, True)]
    D = gradient(jnp.zeros(5))
    for x in (r.value for r in results):
        slope = M.T @ (w * (M @ x - y)) + 0.3 * D.H(D(x))
        active = np.asarray(x) == 0
        assert 0 < active.sum() < 5, "the case shows nothing"
        np.testing.assert_allclose(slope[~active], 0, atol=1e-8)
        assert np.all(np.asarray(slope)[active] > 0)
    values = [float(problem(run(OSSQS(), problem, jnp.ones(5), n_iter=k).value)) for k in (1, 2, 3)]
    assert problem(jnp.ones(5)) > values[0] > values[1] > values[2]


def test_subsets_and_momentum_speed_up_the_first_rounds(x64):
    M = jnp.abs(jax.random.normal(KEYS[0], (12, 5)))
    problem = pwls(M, M @ jnp.arange(5.0), jnp.ones(12))
    best = float(problem(run(OSSQS(momentum=True), problem, n_iter=5000, tol=1e-14).value))
    # Two rounds through the data each; 1, 3 and 3 subsets.
    runs = [(OSSQS(), 2), (OSSQS(3), 6), (OSSQS(3, momentum=True), 6)]
    gaps = [float(problem(run(a, problem, n_iter=n).value)) - best for a, n in runs]
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_mirror_descent_on_the_simplex(x64):
    """Equal slopes where x > 0, larger ones elsewhere; the objective falls in every step."""
    M, y = jax.random.normal(KEYS[2], (12, 5)), jax.random.normal(KEYS[3], (12,))
    problem = posed(M, y)
    x = run(MirrorDescent(mass=1.0), problem, n_iter=20000, tol=1e-13).value
    np.testing.assert_allclose(jnp.sum(x), 1.0)
    slope = np.asarray(M.T @ (M @ x - y))
    active = np.asarray(x) > 1e-6
    assert 1 < active.sum() < 5, "the case shows nothing"
    np.testing.assert_allclose(slope[active], slope[active][0], rtol=1e-4)
    assert np.all(slope[~active] > slope[active][0])
    values = [float(problem(run(MirrorDescent(), problem, n_iter=k).value)) for k in (1, 2, 9)]
    assert problem(jnp.ones(5)) > values[0] > values[1] > values[2]


def test_mirror_step_is_the_textbook_one(x64):
    M, y = jnp.abs(jax.random.normal(KEYS[2], (12, 5))), jnp.ones(12)
    x0 = jnp.arange(1.0, 6)
    got = run(MirrorDescent(15.0, 0.01, 3, "sequential"), posed(M, y), x0, n_iter=2).value
    x = np.asarray(x0)
    for i in range(2):
        A, b = np.asarray(M[i::3]), np.asarray(y[i::3])
        x = x * np.exp(-0.01 * 3 * A.T @ (A @ x - b))
        x = 15 * x / x.sum()
    np.testing.assert_allclose(got, x, rtol=1e-12)


# ------------------------------------------------------------------------------------- all of them

ALL = {
    "sirt": SIRT(),
    "sart": SART(),
    "os-sart": SART(3, order="random"),
    "kaczmarz": Kaczmarz(3, order="weighted"),
    "mlem": MLEM(),
    "osem": OSEM(3),
    "os-sqs": OSSQS(3, momentum=True),
    "mirror descent": MirrorDescent(n_subsets=3),
}


@pytest.mark.parametrize("name", ALL)
def test_batches_scans_and_gradients(name, x64):
    """vmap = loop, the unrolled scan = the loop, its gradient = differences, one trace."""
    M = jnp.abs(jax.random.normal(KEYS[0], (12, 5))) + 0.1
    traces = []

    def go(y, gradient: Any = "none"):
        traces.append(0)
        fidelity = Poisson if name in ("mlem", "osem") else F.LeastSquares
        problem = posed(M, y, fidelity=fidelity)
        result = run(ALL[name], problem, n_iter=5, key=KEYS[5], gradient=gradient)
        return result.value

    y = M @ jnp.arange(1.0, 6)
    batch = jnp.stack([y, 2 * y + 1])
    solve = jax.jit(go, static_argnums=1)
    alone = [solve(b) for b in batch]
    assert len(traces) == 1
    np.testing.assert_allclose(jax.vmap(go)(batch), jnp.stack(alone), rtol=1e-9)
    np.testing.assert_allclose(solve(y, "unrolled"), alone[0], rtol=1e-12)
    slope = jax.jit(jax.grad(lambda y: jnp.sum(go(y, "unrolled") ** 2)))(y)
    d, h = jax.random.normal(KEYS[1], (12,)), 1e-6
    ends = [float(jnp.sum(solve(y + s * h * d) ** 2)) for s in (1, -1)]
    np.testing.assert_allclose(jnp.vdot(slope, d), (ends[0] - ends[1]) / (2 * h), rtol=1e-4)


def test_single_precision_stays_under_x64(x64):
    M = (jnp.abs(jax.random.normal(KEYS[0], (12, 5))) + 0.1).astype("float32")
    for name, algorithm in ALL.items():
        fidelity = Poisson if name in ("mlem", "osem") else F.LeastSquares
        problem = posed(M, M @ jnp.ones(5, "float32"), fidelity=fidelity)
        result = run(algorithm, problem, n_iter=2, key=KEYS[5])
        assert result.value.dtype == jnp.float32, name
        assert result.info.residual.dtype == jnp.float32, name


def test_what_does_not_fit_is_refused_by_name():
    M, y, x = jnp.ones((4, 2)), jnp.ones(4), jnp.zeros(2)
    weighted = Problem(((F.LeastSquares(y, y), Dense(M)),))
    with pytest.raises(ValueError, match=r"weights.*OSSQS"):
        run(SIRT(), weighted, x, n_iter=1)
    with pytest.raises(ValueError, match=r"\(LeastSquares\); MLEM takes one, a Poisson"):
        run(MLEM(), posed(M, y), x, n_iter=1)
    total_variation = Problem((*posed(M, y).terms, (F.L21(), gradient(x))))
    with pytest.raises(ValueError, match=r"L21 of Gradient.*PDHG"):
        run(SART(2), total_variation, x, n_iter=1)
    with pytest.raises(ValueError, match="complex images"):
        run(OSSQS(), posed(M + 0j, y + 0j), n_iter=1)
    with pytest.raises(ValueError, match="no momentum-free"):
        OSSQS(2).fixed_point(posed(M, y), x)


def test_tomography_in_ordered_subsets():
    """Views in subsets on a real projector: a few rounds reach what as many of SIRT do not."""
    image = jnp.zeros((16, 16)).at[4:9, 6:13].set(1.0).at[10:12, 3:6].set(2.0)
    A = ct.parallel_beam(jnp.linspace(0, jnp.pi, 12, endpoint=False), (16, 16), 24)
    y = A(image)
    least = Problem(((F.LeastSquares(y), A), (F.non_negative(), identity(image))))
    counts = Problem(((Poisson(y), A),))
    error = lambda a, p, n: float(  # noqa: E731
        jnp.linalg.norm(run(a, p, n_iter=n).value - image) / jnp.linalg.norm(image)
    )
    sirt, ossart, sart = (
        error(SIRT(), least, 4),
        error(SART(4), least, 16),
        error(SART(), least, 48),
    )
    assert sirt > ossart > sart
    assert sart < 0.2
    mlem, osem = error(MLEM(), counts, 4), error(OSEM(4), counts, 16)
    assert osem < 0.6 * mlem
