"""Every test verb fails on an operator that is wrong in the way it guards against."""

import jax
import jax.core
import jax.numpy as jnp
import pytest

from jaxrecon.core import LinearOperator, diagonal, operator, pair, static
from tests.verbs import DERIVATIVE_VERBS, VERBS, check_adjoint, check_store

SHAPE = (4,)


@operator
class Faulty(LinearOperator):
    """w ⊙ x with one fault at a time."""

    weights: jax.Array
    fault: str = static()

    @property
    def domain(self):
        return jax.ShapeDtypeStruct(SHAPE, self.weights.dtype)

    @property
    def range(self):
        return jax.ShapeDtypeStruct((5,) if self.fault == "shapes" else SHAPE, self.weights.dtype)

    def forward(self, x):
        y = self.weights * x
        match self.fault:
            case "linear":
                return y + 0.01
            case "vmap":
                return y * _under_vmap(x)
            case "jit":
                return y * (1.01 if isinstance(x, jax.core.Tracer) else 1.0)
        return y

    def adjoint(self, y):
        match self.fault:
            case "adjoint scaled":
                return 1.001 * jnp.conj(self.weights) * y
            case "adjoint not conjugated":
                return self.weights * y
        return jnp.conj(self.weights) * y

    @property
    def gram(self):
        return 1.001 * super().gram if self.fault == "gram" else super().gram

    def gram_spectrum(self):
        return jnp.ones(()) if self.fault == "spectrum" else None

    def shifted_inverse(self, shift):
        if self.fault != "shifted inverse":
            return None
        return diagonal(1 / (1.001 * jnp.abs(self.weights) ** 2 + shift), self.domain)


def _weights(dtype="complex64"):
    return jax.random.normal(jax.random.key(1), SHAPE, dtype)


@jax.custom_batching.custom_vmap
def _under_vmap(x):
    return jnp.ones(())


@_under_vmap.def_vmap
def _(size, batched, x):
    return jnp.full((size,), 1.01), True


FAULTS = {
    "adjoint scaled": ["adjoint", "dense transpose"],
    "adjoint not conjugated": ["adjoint", "dense transpose"],
    "linear": ["linear"],
    "shapes": ["shapes"],
    "gram": ["gram"],
    "spectrum": ["closed forms"],
    "shifted inverse": ["closed forms"],
    "jit": ["jit"],
    "vmap": ["vmap"],
}


@pytest.mark.parametrize(("fault", "verb"), [(f, v) for f, vs in FAULTS.items() for v in vs])
def test_verb_fails(fault, verb, key):
    with pytest.raises(AssertionError):
        VERBS[verb](Faulty(_weights(), fault), key)


@pytest.mark.parametrize("verb", VERBS)
def test_verb_passes_without_fault(verb, key):
    VERBS[verb](Faulty(_weights(), "none"), key)


def test_scaled_adjoint_fails_in_float64(key, x64):
    with pytest.raises(AssertionError):
        check_adjoint(Faulty(_weights("complex128"), "adjoint scaled"), key)


def _pair_with(fault):
    """A pair whose derivative rule is wrong in one place."""
    gain = {"x": 1.001, "arrays": 1.0, "none": 1.0}[fault]
    wrong = 1.001 if fault == "arrays" else 1.0
    forward = lambda spec, w, x: w * x  # noqa: E731
    adjoint = lambda spec, w, y: gain * jnp.conj(w) * y  # noqa: E731
    pullback = lambda spec, w, x, v: wrong * jnp.conj(jnp.conj(x) * v)  # noqa: E731
    return pair(forward, adjoint, pullback)


@operator
class Ruled(LinearOperator):
    """w ⊙ x through a custom rule."""

    weights: jax.Array
    fault: str = static()

    @property
    def domain(self):
        return jax.ShapeDtypeStruct(SHAPE, self.weights.dtype)

    @property
    def range(self):
        return self.domain

    def forward(self, x):
        return RULES[self.fault][0](None, self.weights, x)

    def adjoint(self, y):
        return RULES[self.fault][1](None, self.weights, y)


RULES = {fault: _pair_with(fault) for fault in ("none", "x", "arrays")}


@pytest.mark.parametrize("verb", DERIVATIVE_VERBS)
@pytest.mark.parametrize("fault", ["x", "arrays"])
def test_derivative_verb_fails(verb, fault, key, x64):
    with pytest.raises(AssertionError, match="derivative"):
        DERIVATIVE_VERBS[verb](Ruled(_weights("complex128"), fault), key)


@pytest.mark.parametrize("verb", DERIVATIVE_VERBS)
def test_derivative_verb_passes(verb, key, x64):
    DERIVATIVE_VERBS[verb](Ruled(_weights("complex128"), "none"), key)


class Opaque(LinearOperator):
    """Not registered as a pytree at all."""

    domain = range = property(lambda self: jax.ShapeDtypeStruct(SHAPE, jnp.float32))

    def forward(self, x):
        return x

    def adjoint(self, y):
        return y


@operator
class Retracing(LinearOperator):
    """Keeps its data where no two instances are equal."""

    weights: jax.Array
    token: object = static(default=None)

    domain = range = property(lambda self: jax.ShapeDtypeStruct(SHAPE, jnp.float32))

    def forward(self, x):
        return self.weights * x

    def adjoint(self, y):
        return self.weights * y


class _Token:
    """Equal to nothing, not even to itself."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return False


def test_retracing_operator_fails(key):
    with pytest.raises(AssertionError, match="traced 2 times"):
        VERBS["traces"](Retracing(jnp.ones(SHAPE), _Token()), key)


@pytest.mark.parametrize("verb", ["pytree", "jit"])
def test_opaque_operator_fails(verb, key):
    with pytest.raises((AssertionError, TypeError)):
        VERBS[verb](Opaque(), key)


def test_store_verb_fails(key, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxrecon.core.load", lambda path: Faulty(2 * _weights(), "none"))
    with pytest.raises(AssertionError, match="save and load"):
        check_store(Faulty(_weights(), "none"), key, tmp_path)
