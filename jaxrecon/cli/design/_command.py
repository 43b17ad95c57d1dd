"""`jaxrecon design`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

from jaxrecon import __version__, metrics
from jaxrecon.cli import _terminal
from jaxrecon.cli._config import keep_config
from jaxrecon.cli.design import _figures
from jaxrecon.cli.design._config import read_config
from jaxrecon.cli.design._live import watching
from jaxrecon.cli.design._plan import Plan, build
from jaxrecon.cli.design._work import STATE, Journal, Work
from jaxrecon.core._store import whole_file

FIGURES = ("psnr", "ssim", "nrmse")
# What a design may leave behind, beside its configuration and state.
WRITTEN = (
    "results.json",
    "pattern.npz",
    "pattern.png",
    "point-spread.png",
    "before-after.png",
    "waveforms.npz",
    "waveforms.seq",
)


def design(path: str, overrides: Sequence[str] = (), *, resume: bool = True) -> None:
    """Designs what a configuration file says; goes on where an earlier run of the folder stopped.

    Raises:
        ValueError: names the file and the field, or the folder that holds another design; or a loss
            was not finite: the folder has what was best until then.
    """
    config = read_config(path, overrides)
    plan = build(config, path)
    folder = Path(config.design.folder)
    keep_config(folder, config, "design.folder", resume=resume)
    if not resume:
        for name in (STATE, *WRITTEN):
            (folder / name).unlink(missing_ok=True)
    work = Work(plan, config, folder / STATE)
    shape = " x ".join(str(n) for n in plan.images.shape)
    counts = f"{len(plan.images.train)} and {len(plan.images.validation)} to choose by"
    _terminal.say("images", f"{shape}, {counts}")
    _terminal.say("stages", [f"{s.name}: {s.n_steps} steps" for s in plan.stages])
    journal = work.begin(resume=resume)
    if journal.steps:
        _terminal.say("resumed", f"at step {journal.steps}")
    try:
        _run(work, journal, folder)
    except KeyboardInterrupt:
        plan.save(folder, journal.best)
        _terminal.fail(f"interrupted: {folder} keeps what was done; the same command goes on")
        raise SystemExit(130) from None
    _report(work, journal, folder)
    if not journal.finite:
        raise ValueError(
            f"the loss or its gradient was not finite at step {journal.steps}: {folder} keeps the "
            "best pattern until then; try a smaller design.learning_rate, or a greater "
            "reconstruction.n_iter"
        )


def _run(work: Work, journal: Journal, folder: Path) -> None:
    plan = work.plan
    with watching(sum(stage.n_steps for stage in plan.stages)) as watch:

        def notify() -> None:
            jax.effects_barrier()  # steps are told of late
            drawn = plan.drawn(plan.outcomes(journal.pattern)[0])
            best = f"best NRMSE {journal.best_score:.4f}, of step {journal.best_step}"
            watch.show(drawn, journal.steps, best)
            title = f"step {journal.steps}; {best}"
            _figures.pattern_picture(folder / "pattern.png", drawn, title)

        notify()
        work.go(journal, notify, progress=watch)


def _report(work: Work, journal: Journal, folder: Path) -> None:
    """Pattern, pictures and figures of the best outcome, beside those of the start."""
    plan, truth = work.plan, np.asarray(work.plan.images.validation)
    found = {n: work.reconstructions(getattr(journal, n)) for n in ("before", "best")}
    judged = {n: _judged(plan, getattr(journal, n), x, truth) for n, x in found.items()}
    which = int(np.argsort(judged["before"]["each"]["nrmse"])[len(truth) // 2])
    shown = [
        _figures.Shown(
            name,
            plan.drawn(outcome),
            plan.spread(outcome),
            found[key][which],
            truth[which],
            judged[key]["nrmse"],
        )
        for name, key, outcome in (
            ("before", "before", journal.before),
            ("after", "best", journal.best),
        )
    ]
    title = f"best, of step {journal.best_step}: NRMSE {journal.best_score:.4f}"
    _figures.pattern_picture(folder / "pattern.png", shown[1].drawn, title)
    _figures.spread_picture(folder / "point-spread.png", shown)
    _figures.before_after(folder / "before-after.png", shown)
    files = plan.save(folder, journal.best)
    results = {
        "status": "completed" if journal.finite else "stopped: a loss or gradient not finite",
        "steps": journal.steps,
        "best_step": journal.best_step,
        "before": judged["before"],
        "after": judged["best"],
        "losses": journal.losses,
        "validation": journal.scores,
        "jaxrecon": __version__,
    }
    with whole_file(folder / "results.json") as file:
        file.write(json.dumps(results, indent=1).encode())
    _terminal.say("written", [str(file) for file in files])
    _terminal.say("pattern", [f"{k}: {_short(v)}" for k, v in judged["best"]["pattern"].items()])
    _show(judged)


def _judged(plan: Plan, outcome: Any, images: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Mean figures over the validation images, those of each, and facts of the pattern."""
    rows = [metrics.summary(x, t) for x, t in zip(images, truth, strict=True)]
    each = {name: [float(row[name]) for row in rows] for name in FIGURES}
    means = {name: float(np.mean(values)) for name, values in each.items()}
    return {**means, "each": each, "pattern": plan.facts(outcome)}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show(judged: dict[str, dict[str, Any]]) -> None:
    table = Table("", *FIGURES, box=None, padding=(0, 2, 0, 0))
    for label, key in (("before", "before"), ("after", "best")):
        table.add_row(label, *(f"{judged[key][name]:.4g}" for name in FIGURES))
    _terminal.OUT.print(table)
