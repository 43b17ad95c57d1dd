"""Programs on several virtual CPU devices, in processes of their own.

The number of devices is fixed when JAX starts, so no test can change its own.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_JOIN = """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], num_processes=int(sys.argv[2]), process_id=int(sys.argv[3]))
"""


def run_on_devices(program: str, n_devices: int) -> None:
    """Runs a program that asserts something on virtual devices of one process."""
    process = _start(program, n_devices)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]


def run_in_processes(program: str, n_processes: int, n_devices: int) -> None:
    """Runs a program in several processes that see each other's devices."""
    address = f"localhost:{_free_port()}"
    processes = [
        _start(_JOIN + program, n_devices, address, str(n_processes), str(i))
        for i in range(n_processes)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]


def _start(program: str, n_devices: int, *arguments: str) -> subprocess.Popen:
    environment = dict(os.environ, JAX_NUM_CPU_DEVICES=str(n_devices), JAX_PLATFORMS="cpu")
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]
