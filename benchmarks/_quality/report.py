"""Tables and pictures from the records of `quality.py`."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxrecon import viz

SHOWN = 6  # which test image the pictures show
MAIN = ("ct", "mri4", "mri8", "deblur", "single-pixel-variance")
SCORES = {"psnr": "{:.2f} ± {:.2f}", "ssim": "{:.3f} ± {:.3f}", "nrmse": "{:.3f} ± {:.3f}"}
DIRECT = ("FBP", "zero-filled", "pinv", "pinv, cut off")


def write(folder: Path) -> None:
    """`quality.md`, and `quality-TASK.png` of every task, in the folder of the records."""
    records = {}
    for path in sorted(folder.glob("*/*.json")):
        record = json.loads(path.read_text())
        records.setdefault(record["task"], []).append((record, path.with_suffix(".npz")))
    for name, found in records.items():
        found.sort(key=lambda pair: _rank(pair[0]["method"]))
        if len(found) > 2:
            picture(folder / f"quality-{name}.png", found)
    text = "\n".join(tables({name: [r for r, _ in found] for name, found in records.items()}))
    replace_file(folder / "quality.md", lambda f: f.write(text.encode()))
    print(text)


def tables(records: dict[str, list[dict]]) -> list[str]:
    """Markdown: the overview, each task, the orders."""
    main = [name for name in MAIN if name in records]
    lines = ["PSNR in dB over the test images, mean ± standard deviation", ""]
    lines += markdown(["", *(records[name][0]["title"] for name in main)], _overview(records, main))
    for name in main:
        lines += ["", f"## {records[name][0]['title']}", "", *records[name][0]["facts"], ""]
        head = ["", "PSNR (dB)", "SSIM", "NRMSE", "parameters", "tried", "s"]
        lines += markdown(head, [_detail(record) for record in records[name]])
    orders = [name for name in records if name.startswith("single-pixel")]
    if orders:
        lines += ["", "## Orders of the Hadamard rows", ""]
        head = ["", "pinv (dB)", "TV (dB)", "gain (dB)", "largest gain"]
        lines += markdown(head, [_order(name, records[name]) for name in orders])
    return [*lines, ""]


def _overview(records: dict[str, list[dict]], main: list[str]) -> list[list[str]]:
    """A row for each method; the direct ones share the first."""
    rows: dict[str, dict[str, str]] = {}
    for name in main:
        for record in records[name]:
            method = "direct" if record["method"] in DIRECT else record["method"]
            rows.setdefault(method, {})[name] = _figure("psnr", record)
    names = sorted(rows, key=_rank)
    return [[method, *(rows[method].get(name, "") for name in main)] for method in names]


def _detail(record: dict) -> list[str]:
    flag = dict.fromkeys(record["at_ends"], " (end of its ladder)")
    chosen = [f"{k} {v:.3g}{flag.get(k, '')}" for k, v in record["parameters"].items()]
    figures = [_figure(key, record) for key in SCORES]
    counts = [str(record["tried"]), f"{record['seconds']:.0f}"]
    return [record["method"], *figures, ", ".join(chosen), *counts]


def _order(name: str, found: list[dict]) -> list[str]:
    scores = {record["method"]: record for record in found}
    figures = [_figure("psnr", scores[m]) if m in scores else "" for m in ("pinv", "TV")]
    row = [name.removeprefix("single-pixel-").replace("_", " "), *figures]
    if not {"pinv", "TV"} <= set(scores):
        return [*row, "", ""]
    gains = np.subtract(scores["TV"]["psnr"], scores["pinv"]["psnr"])
    return [*row, _signed(gains), f"{gains.max():+.2f}"]


def _signed(values: np.ndarray) -> str:
    return f"{values.mean():+.2f} ± {values.std(ddof=1):.2f}"


def _figure(key: str, record: dict) -> str:
    return SCORES[key].format(np.mean(record[key]), np.std(record[key], ddof=1))


def markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    line = lambda cells: "| " + " | ".join(cells) + " |"  # noqa: E731
    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def _rank(method: str) -> tuple[int, str]:
    """The direct ones first, then as the methods are listed."""
    from _quality.methods import REGULARISED

    listed = method in REGULARISED
    return (1 + list(REGULARISED).index(method) if listed else 0, method)


def picture(path: Path, found: list[tuple[dict, Path]]) -> None:
    """Truth and every method on one test image."""
    images: dict[str, Any] = {}
    truth: Any = None
    for record, file in found:
        with np.load(file) as arrays:
            images[record["method"]], truth = arrays["image"], arrays["truth"]
    figure = viz.comparison(truth, images, title=found[0][0]["title"], max_columns=6)
    viz.save(figure, path, dpi=80)


def replace_file(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Writes a file that is whole or absent."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
