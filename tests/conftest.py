"""Fixtures and settings shared by every test."""

import itertools
from pathlib import Path

import jax
import pytest

MEMORY_MAPS = Path("/proc/self/maps")
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


_tests_done = itertools.count(1)


def pytest_runtest_teardown():
    """Drops compiled programs before they fill the process's table of memory maps.

    Each program takes a few, Linux allows 65530, and at the next one LLVM dies without a word.
    """
    if next(_tests_done) % 50 == 0 and MEMORY_MAPS.exists():
        with MEMORY_MAPS.open() as lines:
            n_maps = sum(1 for _ in lines)
        if n_maps > 20_000:
            jax.clear_caches()
