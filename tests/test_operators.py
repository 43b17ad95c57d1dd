"""The registry × the verbs."""

import itertools

import jax
import pytest

from tests.registry import OPERATORS, build
from tests.verbs import DERIVATIVE_VERBS, VERBS, check_store

ALL_VERBS = VERBS | DERIVATIVE_VERBS
# What rounding and dtypes may break; the others do not know the precision.
SINGLE_VERBS = ["adjoint", "shapes", "gram", "closed forms"]

# An operator's tests stand together: its compiled programs serve all of them.
every = pytest.mark.parametrize("name", OPERATORS)


@pytest.mark.parametrize(("name", "verb"), [*itertools.product(OPERATORS, SINGLE_VERBS)])
def test_float32(name, verb, key):
    VERBS[verb](build(name, "float32"), key)


@pytest.mark.parametrize(("name", "verb"), [*itertools.product(OPERATORS, ALL_VERBS)])
def test_float64(name, verb, key, x64):
    ALL_VERBS[verb](build(name, "float64"), key)


@every
def test_store(name, key, tmp_path):
    A = build(name, "float32")
    if name == "from function":
        with pytest.raises(ValueError, match="cannot be saved"):
            check_store(A, key, tmp_path)
    else:
        check_store(A, key, tmp_path)


@every
def test_operator_is_an_argument_of_jit(name, key):
    """No array hides in the static part: the whole operator passes through jit."""
    A = build(name, "float32")
    again = jax.jit(lambda A: A)(A)
    assert jax.tree.structure(again) == jax.tree.structure(A)
