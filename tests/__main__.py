"""``python -m tests``: everything that must hold, in one command.

Formatting and lint (ruff), types (pyright), then the tests with every docstring's example. Extra
arguments go to pytest.
"""

import os
import subprocess
import sys

PYTHON = sys.executable
# Tiny programs in one piece: compiling the parts of each side by side costs a worker 12 % more.
WHOLE = "--xla_cpu_parallel_codegen_split_count=1"


def main() -> int:
    steps = {
        "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
        "lint": [PYTHON, "-m", "ruff", "check", "."],
        "types": [PYTHON, "-m", "pyright", "--pythonpath", PYTHON],
        "tests": [PYTHON, "-m", "pytest", "--doctest-modules", "-m", "not slow", "-n", "2"],
    }
    steps["tests"] += ["--dist", "worksteal", "--durations", "10", *sys.argv[1:]]
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {WHOLE}".strip()}
    for name, command in steps.items():
        print(f"== {name}", flush=True)
        status = subprocess.call(command, env=environment)
        if status:
            print(f"== {name} failed", flush=True)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
