"""``python -m tests``: everything that must hold, in one command.

Formatting and lint (ruff), types (pyright), then the tests with every docstring's example. Extra
arguments go to pytest.
"""

import subprocess
import sys

PYTHON = sys.executable


def main() -> int:
    steps = {
        "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
        "lint": [PYTHON, "-m", "ruff", "check", "."],
        "types": [PYTHON, "-m", "pyright", "--pythonpath", PYTHON],
        "tests": [PYTHON, "-m", "pytest", "--doctest-modules", "-m", "not slow", "-n", "2"],
    }
    steps["tests"] += ["--dist", "worksteal", "--durations", "10", *sys.argv[1:]]
    for name, command in steps.items():
        print(f"== {name}", flush=True)
        status = subprocess.call(command)
        if status:
            print(f"== {name} failed", flush=True)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
