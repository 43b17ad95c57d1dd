"""Programs in processes of their own, ours and a rival interpreter's, and what they report."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax
from _rivals import unrolled as rivals


def programs(
    script: str, ours: list[str], python: str | None, wanted: tuple[str, ...]
) -> dict[str, list[str]]:
    """The commands that serve our programs, then a rival interpreter's."""
    commands = {name: [sys.executable, script, "--serve", name] for name in ours}
    if python is not None:
        there = rivals.described(python)["programs"]
        commands |= {p: [python, rivals.__file__, p] for p in wanted if p in there}
    return commands


def versions(python: str | None) -> dict:
    """Of JAX, of the machine, of the rivals."""
    device = jax.devices()[0].device_kind
    ours = {"jax": jax.__version__, "python": platform.python_version(), "device": device}
    there = rivals.described(python)["versions"] if python is not None else {}
    return ours | {"cores": os.cpu_count(), "rivals": there}


class Log:
    """Records as JSON lines, printed and added to a file."""

    def __init__(self, path: Path | None):
        self.path = path
        self.lines: list[dict] = []
        if path is not None and path.exists():
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def __call__(self, figure: str, **record: Any) -> None:
        """Adds a record."""
        line = json.dumps({"figure": figure} | record)
        print(line, flush=True)
        self.lines.append(json.loads(line))
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(line + "\n")

    def records(self, figure: str) -> list[dict]:
        """Those of a figure that were not refused."""
        return [r for r in self.lines if r["figure"] == figure and "refused" not in r]
