"""Every functional of the registry against every verb."""

import pytest

from tests.functionals.registry import CASES, parameters
from tests.functionals.verbs import SLOW_VERBS, VERBS, check_precision, has_prox


@pytest.mark.parametrize("verb", [*VERBS, *SLOW_VERBS])
@pytest.mark.parametrize(("case", "dtype"), parameters("float64", "complex128"))
def test_verb(verb, case, dtype, x64):
    (VERBS | SLOW_VERBS)[verb](case.make(dtype), case, dtype)


@pytest.mark.parametrize(("case", "dtype"), parameters("float32", "complex64"))
def test_precision_is_kept(case, dtype, x64):
    check_precision(case.make(dtype), case, dtype)


@pytest.mark.parametrize("name", CASES)
def test_a_solver_can_use_it(name, x64):
    f = CASES[name].make("float64")
    assert f.smooth or has_prox(f)
