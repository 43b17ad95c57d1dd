"""The command run in this process, as the shell would see it."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def jaxrecon(monkeypatch, capsys) -> Command:
    """`jaxrecon ARGUMENTS` without the start of a process; an exception that escapes is one."""
    from jaxrecon.cli import main

    # A console as wide as any line, so that the words tested are not broken by a line's end.
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["jaxrecon", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        return Done(status, *capsys.readouterr())

    return run
