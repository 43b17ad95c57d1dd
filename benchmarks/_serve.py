"""A program that solves a problem again and again at command, in a process of its own.

It imports neither JAX nor jaxrecon, so that every interpreter can run it.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Case = dict[str, Any]
Solve = Callable[[], np.ndarray]


class NotOffered(Exception):
    """A program has no such method, for the reason given."""


def serve(methods: dict[str, Callable], folder: Path) -> None:
    """Answers commands on standard input until it ends; replies are JSON lines.

    ``{"prepare": name, "method": method}`` loads `name`.npz, solves it once and saves the answer;
    ``{"run": true}`` solves it again. What libraries print goes to standard error.
    """
    solve: Any = None
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        command = json.loads(line)
        if "prepare" in command:
            try:
                solve, reply = _prepare(methods, command["method"], folder / command["prepare"])
            except NotOffered as reason:
                reply = {"absent": str(reason)}
        else:
            reply = {"ms": 1000 * _seconds(solve)[0]}
        print(json.dumps(reply | {"peak_bytes": peak_bytes()}), file=replies, flush=True)


def _prepare(methods: dict[str, Callable], method: str, path: Path) -> tuple[Solve, dict]:
    with np.load(path.with_suffix(".npz")) as file:
        case = {name: file[name] for name in file.files}
    start = time.perf_counter()
    prepared = methods[method](case)
    solve, record = prepared if isinstance(prepared, tuple) else (prepared, {})
    setup = time.perf_counter() - start
    first, answer = _seconds(solve)
    name = f"{path.name}-{os.getpid()}.npy"
    np.save(path.parent / name, answer)
    times = {"setup_s": round(setup, 2), "first_s": round(first, 2)}
    return solve, {"answer": name, **times, **record}


def _seconds(solve: Solve) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    answer = solve()
    return time.perf_counter() - start, answer


def peak_bytes() -> int:
    """The largest resident size that this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` begins with the size of the process that started this one
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
