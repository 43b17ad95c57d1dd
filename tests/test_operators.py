"""The registry × the verbs."""

import jax
import pytest

from tests.registry import OPERATORS
from tests.verbs import DERIVATIVE_VERBS, VERBS, check_store

# What rounding and dtypes may break; the others do not know the precision.
SINGLE_VERBS = ["adjoint", "dense transpose", "shapes", "gram", "closed forms"]

pytestmark = pytest.mark.parametrize("name", OPERATORS)


@pytest.mark.parametrize("verb", SINGLE_VERBS)
def test_float32(name, verb, key):
    VERBS[verb](OPERATORS[name]("float32"), key)


@pytest.mark.parametrize("verb", [*VERBS, *DERIVATIVE_VERBS])
def test_float64(name, verb, key, x64):
    (VERBS | DERIVATIVE_VERBS)[verb](OPERATORS[name]("float64"), key)


def test_store(name, key, tmp_path):
    A = OPERATORS[name]("float32")
    if name == "from function":
        with pytest.raises(ValueError, match="cannot be saved"):
            check_store(A, key, tmp_path)
    else:
        check_store(A, key, tmp_path)


def test_operator_is_an_argument_of_jit(name, key):
    """No array hides in the static part: the whole operator passes through jit."""
    A = OPERATORS[name]("float32")
    again = jax.jit(lambda A: A)(A)
    assert jax.tree.structure(again) == jax.tree.structure(A)
