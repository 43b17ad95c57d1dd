"""Trainings that go on where they were stopped, judgements that are made once, tables, pictures.

Everything of a setting lies in one folder: ``weights/METHOD-SEED.npz``, ``runs/METHOD-SEED`` with
checkpoints and logs, ``TASK/METHOD[-SEED].json`` with the scores of every test image and ``.npz``
with the images, ``TASK.md`` and ``TASK.png``.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _networks import Recipe
from _quality import methods, report
from _quality.shared import Task
from _settings import Setting
from flax import nnx
from jax.tree_util import Partial

from jaxrecon import metrics, viz
from jaxrecon.nets.layers import n_parameters
from jaxrecon.training import Trainer, adamw, load_weights, save_weights
from jaxrecon.training.input import ArraySource, Batches, simulated

DIRECT = "direct"
N_VALIDATIONS = 10  # of a training
BATCH = 4  # test scans at a time


# ----------------------------------------------------------------------------------------- training


class Training(NamedTuple):
    """A network to be trained: where, from what, by what."""

    folder: Path
    method: str
    recipe: Recipe
    loss: Any  # of an example {"A": A, "y": y, "x": truth}
    setting: Setting


def trained(training: Training, seed: int) -> nnx.Module:
    """The network of one seed: read, or trained and written."""
    folder, method, recipe, loss, setting = training
    net = recipe.build(rngs=nnx.Rngs(seed))
    name = f"{label(method)}-{seed}"
    path = folder / "weights" / f"{name}.npz"
    if path.exists():
        return load_weights(path, net)
    start = time.perf_counter()
    scans, every = setting.tasks[0].validation, max(1, recipe.steps // N_VALIDATIONS)
    trainer = Trainer(
        loss=simulated(loss, setting.measure),
        optimiser=adamw(recipe.rate, n_steps=recipe.steps, n_warmup=min(recipe.steps // 10, 500)),
        n_steps=recipe.steps,
        folder=folder / "runs" / name,
        evaluation=Partial(validation, setting.tasks[0].operator),
        evaluation_batch=len(scans.truth),
        ema_decay=1 - 20 / max(recipe.steps, 40),
        log_every=every,
        validate_every=every,
        monitor="psnr",
        mode="max",
    )
    source = ArraySource(y=np.asarray(scans.data), x=np.asarray(scans.truth))
    batches = Batches(setting.objects, recipe.batch, seed=seed)
    trainer.fit(net, batches, source, key=jax.random.key(seed))
    best = trainer.best(net)
    facts = {"method": method, "seed": seed, "steps": recipe.steps, "batch": recipe.batch}
    facts |= {"parameters": n_parameters(best), "seconds": round(time.perf_counter() - start, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, best, card=facts)
    print(json.dumps({"setting": folder.name, **facts}), flush=True)
    return best


def validation(A: Any, net: Any, example: dict[str, Any], key: Any) -> tuple[Any, dict[str, Any]]:
    """The PSNR of a validation scan, and its negative as a loss."""
    del key
    value = metrics.psnr(net(A, example["y"]), example["x"])
    return -value, {"psnr": value}


# ---------------------------------------------------------------------------------------- judgement


def judge_classical(
    folder: Path, task: Task, name: str, networks: Path, effort: methods.Effort
) -> None:
    """Tunes a classical method on the validation scans and runs it on the test scans."""
    path = record_path(folder, task, name)
    if path.exists():
        return
    start = time.perf_counter()
    method = methods.method(task, None if name == DIRECT else name, effort, networks)
    tuned = methods.tune(method, task, lambda line: print(line, file=sys.stderr))
    run = functools.partial(methods.evaluate, method.reconstruct, task, task.test)
    images, scores = run(tuned["parameters"], len(task.validation.truth))
    facts = {**tuned, "seconds": round(time.perf_counter() - start, 1)}
    _keep(path, task, task.direct.name if name == DIRECT else name, images, scores, facts)


def judge_network(folder: Path, task: Task, name: str, seed: int, net: nnx.Module) -> None:
    """Runs a network on the test scans."""
    path = record_path(folder, task, name, seed)
    if path.exists():
        return
    start = time.perf_counter()
    images, scores = methods.evaluate(
        as_method(net), task, task.test, {}, len(task.test.truth) // 4
    )
    facts = {"seed": seed, "parameters": {}, "network_parameters": n_parameters(net)}
    facts["seconds"] = round(time.perf_counter() - start, 1)
    _keep(path, task, name, images, scores, facts)


def as_method(net: nnx.Module) -> Partial:
    """A network as `_quality.methods` call a method."""
    return Partial(_run_network, net)


def _run_network(net: Any, A: Any, scan: Any, parameters: dict) -> Any:
    return net(A, scan.data)


def label(method: str) -> str:
    return method.replace(" ", "-")


def record_path(folder: Path, task: Task, method: str, seed: int | None = None) -> Path:
    return folder / task.name / f"{label(method)}{'' if seed is None else f'-{seed}'}.json"


def _keep(
    path: Path, task: Task, method: str, images: Any, scores: dict[str, Any], facts: dict
) -> None:
    """All images and scores, the record last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = {k: np.asarray(v, float).round(4).tolist() for k, v in scores.items()}
    record = {"task": task.name, "method": method, **facts, **figures}
    pair = {"images": np.asarray(images), "truth": np.asarray(task.test.truth)}
    report.replace_file(path.with_suffix(".npz"), lambda f: np.savez_compressed(f, **pair))
    report.replace_file(path, lambda f: f.write(json.dumps(record).encode()))
    means = {k: round(float(jnp.mean(jnp.asarray(v))), 3) for k, v in figures.items()}
    print(json.dumps({"task": task.name, "method": method, **facts, **means}), flush=True)


# ------------------------------------------------------------------------------------------- report


def write(folder: Path, task: Task, known: list[str]) -> None:
    """The table and the picture of a task, of all that is there."""
    found = {method: records(folder, task, method) for method in known}
    found = {method: some for method, some in found.items() if some}
    head = ["", "PSNR (dB)", "seeds", "SSIM", "NRMSE", "parameters"]
    rows = [_row([record for record, _ in some]) for some in found.values()]
    lines = [f"## {task.title}", "", *task.facts, "", *report.markdown(head, rows), ""]
    text = "\n".join(lines)
    report.replace_file(folder / f"{task.name}.md", lambda f: f.write(text.encode()))
    print(text)
    images, truth, shown = {}, None, report.SHOWN % len(task.test.truth)
    for some in found.values():
        with np.load(some[0][1]) as arrays:
            images[some[0][0]["method"]], truth = arrays["images"][shown], arrays["truth"][shown]
    figure = viz.comparison(truth, images, title=task.title, max_columns=4)
    viz.save(figure, folder / f"{task.name}.png", dpi=80)


def records(folder: Path, task: Task, method: str) -> list[tuple[dict, Path]]:
    """Those of a method, one for each seed, with the files of images."""
    paths = [record_path(folder, task, method)]
    paths += sorted(folder.glob(f"{task.name}/{label(method)}-[0-9].json"))
    return [(json.loads(p.read_text()), p.with_suffix(".npz")) for p in paths if p.exists()]


def _row(some: list[dict]) -> list[str]:
    """Mean ± standard deviation over images of the mean over seeds; the spread over seeds."""
    cells = {}
    for name, form in report.SCORES.items():
        over_images = np.mean([record[name] for record in some], axis=0)
        cells[name] = form.format(over_images.mean(), over_images.std(ddof=1))
    means = [np.mean(record["psnr"]) for record in some]
    seeds = f"{len(some)}" if "seed" in some[0] else ""
    seeds += f", ± {np.std(means, ddof=1):.2f}" if len(some) > 1 else ""
    size = some[0].get("network_parameters")
    chosen = ", ".join(f"{k} {v:.3g}" for k, v in some[0]["parameters"].items())
    detail = chosen if size is None else f"{size} learned"
    return [some[0]["method"], cells["psnr"], seeds, cells["ssim"], cells["nrmse"], detail]
