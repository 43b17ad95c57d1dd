"""Fixtures of the tests of gradient methods."""

import jax
import jax.numpy as jnp
import pytest

from tests.solvers.gradient.posed import KEYS, N_DATA, N


@pytest.fixture
def quadratic(x64):
    """A matrix, its data and the step 1/L."""
    M = jax.random.normal(KEYS[0], (N_DATA, N))
    y = jax.random.normal(KEYS[1], (N_DATA,))
    return M, y, float(1 / jnp.linalg.norm(M, 2) ** 2)
