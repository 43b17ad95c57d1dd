"""Every algorithm × the verbs, and every verb on an algorithm that is wrong."""

import jax
import jax.numpy as jnp
import pytest

from jaxrecon.core import Algorithm, pytree, static, tree
from jaxrecon.solvers import ProximalGradient
from tests.solvers import verbs
from tests.solvers.cases import gradient, linear, splitting, subsets
from tests.solvers.problems import REAL_ONLY, Case

CASES: dict[str, Case] = {
    **linear.CASES,
    **gradient.CASES,
    **splitting.CASES,
    **subsets.CASES,
}


def dtypes(case: Case) -> list[str]:
    on_complex = case.on_complex and case.problem not in REAL_ONLY
    return ["float64", "complex128"] if on_complex else ["float64"]


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, dtype) for n, case in CASES.items() for dtype in dtypes(case)]
)
def test_solution(name, dtype, x64):
    verbs.check_solution(CASES[name], dtype)


@pytest.mark.parametrize("verb", [v for v in verbs.VERBS if v != "solution"])
@pytest.mark.parametrize("name", CASES)
def test_algorithm(name, verb, x64):
    if verb == "unrolled" and CASES[name].stochastic:
        pytest.skip("the path of a stochastic method is differentiated by its own tests")
    verbs.VERBS[verb](CASES[name], dtypes(CASES[name])[-1])


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.implicit])
def test_implicit_gradient(name, x64):
    verbs.check_implicit_gradient(CASES[name], dtypes(CASES[name])[-1])


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.problem in verbs.QUADRATIC])
def test_pytrees(name, x64):
    verbs.check_pytrees(CASES[name], "float64")


# ------------------------------------------------------------- each verb meets something wrong


@pytree
class Wrong(Algorithm):
    """Proximal gradient with a fault."""

    inner: ProximalGradient
    fault: str = static()

    def init(self, problem, x0, *, key=None):
        del key
        return self.inner.init(problem, x0)

    def step(self, problem, state, inputs):
        new, info = self.inner.step(problem, state, inputs)
        return new._replace(x=FAULTS[self.fault](new.x, state.x)), info

    def value(self, state):
        return state.x

    def fixed_point(self, problem, point):
        return tree.scale(0.999, self.inner.fixed_point(problem, point))


@jax.custom_batching.custom_vmap
def _mixing(x):
    return x


@_mixing.def_vmap
def _mixed(size, batched, x):
    del size, batched
    return x + 0.01 * jnp.mean(x, 0), True


FAULTS = {
    "none": lambda new, old: new,
    "solution": lambda new, old: 1.001 * new,
    "dtype": lambda new, old: new + 0 * jnp.asarray(1e-300, jnp.float64),
    "vmap": lambda new, old: _mixing(new),
    "unrolled": lambda new, old: new + 0.01 * jax.lax.stop_gradient(old),
}


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_verbs_notice(verb, x64):
    right, wrong = (Wrong(ProximalGradient(), fault) for fault in ("none", verb))
    verbs.VERBS[verb](Case(right, "tikhonov", n_iter=5000), "float64")
    with pytest.raises((AssertionError, TypeError)):
        verbs.VERBS[verb](Case(wrong, "tikhonov", n_iter=5000), "float64")


def test_implicit_verb_notices(x64):
    case = Case(Wrong(ProximalGradient(), "none"), "tikhonov", n_iter=5000)
    with pytest.raises(AssertionError, match="difference"):
        verbs.check_implicit_gradient(case, "float64")


def test_pytree_verb_notices(x64):
    @pytree
    class Leafwise(Algorithm):
        """Treats the first leaf as if it were all."""

        inner: ProximalGradient

        def init(self, problem, x0, *, key=None):
            return self.inner.init(problem, x0)

        def step(self, problem, state, inputs):
            new, info = self.inner.step(problem, state, inputs)
            first, *others = jax.tree.leaves(new.x)
            moved = [0.9 * first, *others]
            return new._replace(x=jax.tree.unflatten(jax.tree.structure(new.x), moved)), info

        def value(self, state):
            return state.x

    with pytest.raises(AssertionError):
        verbs.check_pytrees(Case(Leafwise(ProximalGradient()), "tikhonov"), "float64")
