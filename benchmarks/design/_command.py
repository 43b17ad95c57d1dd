"""What the commands of this folder share: options, the first line of their output, table cells."""

import argparse
import json
import platform
from pathlib import Path

import jax
import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared/data"


def parser_of(doc: str, *, seeds: tuple[int, ...] = (0, 1, 2)) -> argparse.ArgumentParser:
    """The options that all have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--quick", action="store_true", help="tiny, one seed, for a try")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("design"), help="folder for results")
    return parser


def begun(options: argparse.Namespace) -> None:
    """Makes the folder, and prints what the figures are from."""
    if options.quick:
        options.seeds = options.seeds[:1]
    options.out.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0].device_kind
    print(json.dumps({"jax": jax.__version__, "python": platform.python_version(), "on": device}))


def stored(records: list[dict], path: Path) -> None:
    """The whole list, after every record that was added."""
    path.write_text(json.dumps(records, indent=1) + "\n")


def cell(values: list[float], digits: int = 4) -> str:
    """Mean ± standard deviation over seeds."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"
