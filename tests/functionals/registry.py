"""Every functional by name: add one to a file of `cases`, and all of `verbs.py` is asked of it."""

import pytest

from tests.functionals.cases import fidelities, norms, priors
from tests.functionals.draws import Case

MODULES = (norms, fidelities, priors)
CASES = {name: Case(*case) for module in MODULES for name, case in module.CASES.items()}


def parameters(real: str, complex_: str, *, both: bool = True):
    """Pytest parameters (case, dtype) of all functionals in one precision.

    Those that take complex numbers come in both kinds, or in that one only.
    """
    kinds = {False: (real,), True: (real, complex_) if both else (complex_,)}
    return [
        pytest.param(case, dtype, id=f"{name}, {dtype}")
        for name, case in CASES.items()
        for dtype in kinds[case.on_complex]
    ]
