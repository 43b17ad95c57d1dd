"""Fixtures and settings shared by every test."""

import itertools
from pathlib import Path

import jax
import pytest

MEMORY_MAPS = Path("/proc/self/maps")
QUICK_FOLDERS = {"functionals", "generative", "layers", "losses", "nets"}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real measurements, or a skip with its reason."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real measurements (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture
def quick():
    """Programs that compile quickly, for one test that judges formulas and does not run for long.

    What rounding may break is judged in single precision, by programs as users have them.
    """
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True)
def _quick_folders(request):
    """Folders that judge formulas on tiny arrays: nearly all of their time is compilation."""
    if request.path.parent.name in QUICK_FOLDERS:
        request.getfixturevalue("quick")


@pytest.fixture
def x64(quick):
    """Double precision for one test, which judges formulas: compiled quickly."""
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
