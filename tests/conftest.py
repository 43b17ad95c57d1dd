"""Fixtures and settings shared by every test."""

from pathlib import Path

import jax
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real measurements, or a skip with its reason."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real measurements (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(20)
