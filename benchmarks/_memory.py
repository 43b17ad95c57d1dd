"""How much memory a compiled function and this process take."""

import os
import resource
import sys
from typing import Any


def temporary_bytes(compiled: Any) -> int:
    """Bytes that a compiled JAX function allocates beside its arguments and results."""
    return compiled.memory_analysis().temp_size_in_bytes


def peak_bytes() -> int:
    """The largest resident size that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def device_peak_bytes(device: Any) -> int | None:
    """The largest amount of memory in use on an accelerator so far; None where it does not say."""
    return (device.memory_stats() or {}).get("peak_bytes_in_use")


def resident_bytes() -> int:
    """The resident size of this process now (Linux)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
