"""How much memory there is, for what can be refused before it is tried."""

import os

import jax


def device_bytes() -> int | None:
    """Bytes of the device that computes, or of the host where that does not say; None: unknown.

    Systems that promise more memory than they have end a process that asks for more without a word.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return None
