"""Each verb of the registry is shown a functional that is wrong in one way, and must fail."""

from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import pytest

from jaxrecon.core import pytree, static, tree
from jaxrecon.functionals import Functional
from tests.faults import mixing
from tests.functionals.draws import Case, normal
from tests.functionals.verbs import SLOW_VERBS, VERBS, check_precision

ALL = VERBS | SLOW_VERBS
FAULTS = {
    "prox 1 %": ("prox minimises", "optimality", "prox derivative"),
    "prox of another step": ("prox minimises", "optimality"),
    "prox expands": ("prox minimises", "optimality", "moreau"),
    "conjugate": ("moreau",),
    "one entry": ("prox minimises",),
    "gradient scaled": ("gradient", "normal"),
    "gradient conjugated": ("gradient",),
    "curvature": ("curvature", "normal"),
    "normal": ("normal",),
    "batch": ("transforms",),
    "mean step": ("array step",),
    "constant step": ("prox derivative",),
    "subset": ("subset",),
}


@pytree
class Faulty(Functional):
    """½ Σ |x − y|², wrong as named."""

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    data: Any
    fault: str = static(default="none")

    def __call__(self, x):
        return 0.5 * tree.sum_of_squares(x - self.data)

    def grad(self, x):
        gradient = x - self.data
        if self.fault == "gradient conjugated":
            return jnp.conj(gradient)
        return 1.001 * gradient if self.fault == "gradient scaled" else gradient

    def prox(self, x, step):
        match self.fault:
            case "prox of another step":
                step = 1.02 * step
            case "mean step":
                step = jnp.mean(jnp.asarray(step))
            case "constant step":
                step = jax.lax.stop_gradient(step)
            case "prox expands":
                return 2 * x - self.data
        p = (x + step * self.data) / (1 + step)
        if self.fault == "batch":
            return mixing(p)
        if self.fault == "one entry":
            return p.at[2, 2].mul(1.01)
        # Off by 1 %, with a derivative in x and y that is right for another map.
        return p * _scale(p) if self.fault == "prox 1 %" else p

    def conjugate_prox(self, x, step):
        right = super().conjugate_prox(x, step)
        return 1.001 * right if self.fault == "conjugate" else right

    def curvature_root(self, A):
        return 0.99 * A if self.fault == "curvature" else A

    def normal(self, A):
        b = A.H(self.data)
        return A.gram, 1.001 * b if self.fault == "normal" else b

    def subset(self, i, n):
        part = (i + 1) % n if self.fault == "subset" else i
        return Faulty(self.data.reshape(-1, n, *self.data.shape[1:])[:, part])


def _scale(p):
    return jax.lax.stop_gradient(1 + 0.01 * jnp.tanh(jnp.abs(p)))


@pytest.mark.parametrize(
    ("fault", "verb"), [(fault, verb) for fault, verbs in FAULTS.items() for verb in verbs]
)
def test_verb_fails(fault, verb, x64):
    case = Case(Faulty, True)
    with pytest.raises(AssertionError):
        ALL[verb](Faulty(normal("complex128", fold=1), fault), case, "complex128")


@pytest.mark.parametrize("verb", ALL)
def test_verb_passes(verb, x64):
    ALL[verb](Faulty(normal("complex128", fold=1)), Case(Faulty, True), "complex128")


def test_precision_verb_fails(x64):
    case = Case(Faulty, True)
    check_precision(Faulty(normal("complex64", fold=1)), case, "complex64")
    with pytest.raises(AssertionError):
        check_precision(Faulty(normal("complex128", fold=1)), case, "complex64")


def test_every_verb_is_shown_a_fault():
    assert {verb for verbs in FAULTS.values() for verb in verbs} == set(ALL)
