"""`jaxrecon train`, `evaluate` and `export`."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from jaxrecon import __version__, metrics
from jaxrecon.cli import _terminal
from jaxrecon.cli._config import CONFIG, keep_config, parse
from jaxrecon.cli.learn._build import (
    LOSSES,
    Images,
    baseline,
    build_network,
    build_scan,
    read_images,
)
from jaxrecon.cli.learn._config import Config, read_config
from jaxrecon.core import pytree
from jaxrecon.core._store import whole_file
from jaxrecon.nets.layers import n_parameters
from jaxrecon.training import DivergedError, Trainer, adamw, data_mesh, save_weights
from jaxrecon.training import export as export_network
from jaxrecon.training.input import Augment, Batches, augmented, simulated

WEIGHTS = "weights.npz"
FIGURES = ("psnr", "ssim", "nrmse")


class Job(NamedTuple):
    """Everything a configuration stands for."""

    config: Config
    net: Any
    train: Images
    validation: Images
    measure: Any
    operator: Any
    trainer: Trainer


@pytree
class Scores:
    """Figures of the network and of the baseline on one example; the loss is minus the PSNR."""

    baseline: Any

    def __call__(self, net: Any, batch: dict[str, Any], key: Any) -> tuple[Any, dict[str, Any]]:
        """As a loss, so that the trainer can validate by it."""
        del key
        A, y, x = batch["A"], batch["y"], batch["x"]
        learned = metrics.summary(net(A, y), x)
        simple = metrics.summary(self.baseline(A, y), x)
        figures = {name: learned[name] for name in FIGURES}
        figures |= {f"baseline_{name}": simple[name] for name in FIGURES}
        return -learned["psnr"], figures


@pytree
class Pictures:
    """Truth, baseline and network of the first validation image."""

    measure: Any
    baseline: Any

    def __call__(self, net: Any, example: dict[str, Any], key: Any) -> dict[str, Any]:
        """The images by name."""
        A, y = self.measure(key, example["x"])
        return {"truth": example["x"], "baseline": self.baseline(A, y), "network": net(A, y)}


def train(path: str, overrides: Sequence[str] = (), *, resume: bool = True) -> None:
    """Trains what a configuration file says; goes on where an earlier run of the folder stopped.

    Raises:
        ValueError: names the file and the field, or the folder that holds another training.
    """
    job = assemble(read_config(path, overrides))
    folder = Path(job.config.training.folder)
    _check_new(folder, resume)
    keep_config(folder, job.config, "training.folder", resume=resume)
    _terminal.say("images", [_facts(job.train, "train"), _facts(job.validation, "validate")])
    _terminal.say("network", f"{job.config.model.name}, {n_parameters(job.net)} parameters")
    _terminal.say("devices", ", ".join(str(device) for device in jax.devices()))
    settings = job.config.training
    batches = Batches(job.train.source, settings.batch, seed=settings.seed)
    key = jax.random.key(settings.seed)
    try:
        done = job.trainer.fit(job.net, batches, job.validation.source, key=key, resume=resume)
    except DivergedError as error:
        raise ValueError(f"{error}: try a smaller training.learning_rate") from None
    best = job.trainer.best(job.net)
    card = {"config": dataclasses.asdict(job.config), "jaxrecon": __version__, "step": done.step}
    checksum = save_weights(folder / WEIGHTS, best, card=card | {"figures": done.figures})
    _terminal.say("finished", f"{done.stopped} at step {done.step}, best at {done.best_step}")
    _terminal.say("weights", f"{folder / WEIGHTS} ({checksum[:12]})")
    _show(done.figures or {})


def evaluate(folder: str, data: str | None = None) -> None:
    """Figures of a trained network on images it has not seen, beside the baseline's.

    Raises:
        ValueError: the folder holds no training, or the images don't fit.
    """
    job = _trained(folder)
    images = job.validation if data is None else read_images(data, job.config.data, job.config.scan)
    if images.shape != job.train.shape:
        raise ValueError(f"{data}: images are {images.shape}, the network's are {job.train.shape}")
    rows = _each(job, images)
    for name in rows:
        _terminal.say(name, f"{np.mean(rows[name]):.4g} ± {np.std(rows[name]):.2g}")
    with whole_file(Path(folder) / "evaluation.json") as file:
        text = {"data": data or job.config.data.validation, "n": len(images.source), "each": rows}
        file.write(json.dumps(text, indent=1).encode())
    _show({name: float(np.mean(values)) for name, values in rows.items()})


def export(folder: str, out: str, *, batch: bool = False) -> None:
    """Writes the trained network with its operator as StableHLO, loadable with JAX alone.

    MRI networks take the mask and the coil maps as further inputs.

    Raises:
        ValueError: the folder holds no training.
    """
    job = _trained(folder)
    inputs = ("maps", "mask") if job.config.scan.kind == "mri" else ()
    exported = export_network(job.net, job.operator, path=out, inputs=inputs, batch=batch)
    _terminal.say("written", out)
    _terminal.say("inputs", [str(aval) for aval in exported.in_avals])
    _terminal.say("platforms", ", ".join(exported.platforms))


def assemble(config: Config) -> Job:
    """What a configuration stands for, built."""
    settings = config.training
    if settings.loss not in LOSSES:
        names = ", ".join(LOSSES)
        raise ValueError(f"training.loss is {settings.loss!r}, expected one of {names}")
    train, validation = (
        read_images(path, config.data, config.scan)
        for path in (config.data.train, config.data.validation)
    )
    if train.shape != validation.shape:
        raise ValueError(
            f"{config.data.validation}: images are {validation.shape}, those to train on "
            f"{train.shape}"
        )
    measure, operator = build_scan(config.scan, train)
    loss = simulated(LOSSES[settings.loss], measure)
    if settings.augment:
        turns = train.shape[0] == train.shape[1]
        loss = augmented(loss, Augment(rotations=turns, shift=2.0), ("x",))
    simple, n_devices = baseline(config.scan.kind), len(jax.devices())
    trainer = Trainer(
        loss=loss,
        optimiser=adamw(settings.learning_rate, n_steps=settings.n_steps),
        n_steps=settings.n_steps,
        folder=settings.folder,
        evaluation=simulated(Scores(simple), measure),
        ema_decay=settings.ema,
        n_parts=settings.parts,
        mesh=data_mesh() if n_devices > 1 else None,
        validate_every=settings.validate_every,
        patience=settings.patience,
        pictures=Pictures(measure, simple),
    )
    return Job(config, build_network(config), train, validation, measure, operator, trainer)


def _check_new(folder: Path, resume: bool) -> None:
    """Refuses to start anew over checkpoints, before anything in the folder is changed."""
    if not resume and any(folder.glob("checkpoints/*")):
        raise ValueError(
            f"training.folder {str(folder)!r} has checkpoints, which --no-resume would leave "
            "behind: remove that folder, or choose another"
        )


def _trained(folder: str) -> Job:
    path = Path(folder) / CONFIG
    try:
        tables = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no training is here: {error}") from None
    tables["training"]["folder"] = folder
    job = assemble(parse(Config, tables, str(path)))
    return job._replace(net=job.trainer.best(job.net))


def _each(job: Job, images: Images) -> dict[str, list[float]]:
    """The figures of every image, each with noise of its own."""
    score = simulated(Scores(baseline(job.config.scan.kind)), job.measure)
    one = jax.jit(lambda net, example, key: score(net, example, key)[1])
    keys = jax.random.split(jax.random.key(job.config.training.seed), len(images.source))
    rows = [
        one(job.net, {"x": jnp.asarray(images.source[i]["x"])}, keys[i]) for i in range(len(keys))
    ]
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def _facts(images: Images, verb: str) -> str:
    return f"{len(images.source)} of {images.shape[0]} x {images.shape[1]} to {verb}"


def _show(figures: dict[str, float]) -> None:
    if not figures:
        return
    table = Table("", *FIGURES, box=None, padding=(0, 2, 0, 0))
    for label, prefix in (("network", ""), ("baseline", "baseline_")):
        table.add_row(label, *(f"{figures[prefix + name]:.4g}" for name in FIGURES))
    _terminal.OUT.print(table)
