"""The ``jaxrecon`` command: `demo`, `recon`, `models`, `train`, `evaluate`, `export`, `design`."""

import sys


def main() -> None:
    """Runs the command line; exit status 2 with one clear line on bad input."""
    try:
        from jaxrecon.cli._app import run_app
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("typer", "rich"):
            raise
        print(
            f"jaxrecon: the command line needs {missing}: pip install 'jaxrecon[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    run_app()


__all__ = ["main"]
