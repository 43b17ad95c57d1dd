"""Training is tested for what it computes, not for its speed: compile quickly."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def _quick_compilation():
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
