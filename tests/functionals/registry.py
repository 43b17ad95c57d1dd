"""Every functional by name: add one to a file of `cases`, and all of `verbs.py` is asked of it."""

import pytest

from tests.functionals.cases import fidelities, norms, priors
from tests.functionals.draws import Case

MODULES = (norms, fidelities, priors)
CASES = {name: Case(*case) for module in MODULES for name, case in module.CASES.items()}


def parameters(real: str, complex_: str):
    """Pytest parameters (case, dtype): complex for those that take it, which is the harder kind."""
    chosen = {name: complex_ if case.on_complex else real for name, case in CASES.items()}
    return [pytest.param(CASES[n], dtype, id=f"{n}, {dtype}") for n, dtype in chosen.items()]
