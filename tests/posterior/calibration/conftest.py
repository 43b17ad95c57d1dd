"""Formulas on small arrays: nearly all of the time is compilation."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _quick(quick):
    return


@pytest.fixture(autouse=True)
def _seeded(request, monkeypatch):
    """The same draws for each test, whichever others run before it."""
    monkeypatch.setattr(request.module, "RNG", np.random.default_rng(1), raising=False)
