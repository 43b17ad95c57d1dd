"""Every algorithm × the verbs, and every verb on an algorithm that is wrong."""

import jax
import jax.numpy as jnp
import pytest

from jaxrecon.core import Algorithm, pytree, static, tree
from jaxrecon.solvers import ProximalGradient
from tests.faults import mixing
from tests.solvers import verbs
from tests.solvers.cases import gradient, linear, splitting, subsets
from tests.solvers.problems import REAL_ONLY, Case

CASES: dict[str, Case] = {
    **linear.CASES,
    **gradient.CASES,
    **splitting.CASES,
    **subsets.CASES,
}


def asked(case: Case) -> list[tuple[str, str]]:
    """The verbs, each with a dtype, that an algorithm has to answer to."""
    on_complex = case.on_complex and case.problem not in REAL_ONLY
    dtypes = ["float64", "complex128"] if on_complex else ["float64"]
    others = ["dtype", "vmap"]
    others += [] if case.stochastic else ["unrolled"]  # its own tests differentiate its path
    others += ["implicit gradient"] if case.implicit else []
    pairs = [("solution", d) for d in dtypes] + [(verb, dtypes[-1]) for verb in others]
    return pairs + ([("pytrees", "float64")] if case.problem in verbs.QUADRATIC else [])


# An algorithm's tests stand together: one compiled program serves most of them.
@pytest.mark.parametrize(
    ("name", "verb", "dtype"), [(n, *pair) for n, case in CASES.items() for pair in asked(case)]
)
def test_algorithm(name, verb, dtype, x64):
    verbs.VERBS[verb](CASES[name], dtype)


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


FAULTS = {
    "none": lambda new, old: new,
    "solution": lambda new, old: 1.001 * new,
    "dtype": lambda new, old: new + 0 * jnp.asarray(1e-300, jnp.float64),
    "vmap": lambda new, old: mixing(new),
    "unrolled": lambda new, old: new + 0.01 * jax.lax.stop_gradient(old),
}


@pytest.mark.parametrize("verb", [*FAULTS][1:])
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
