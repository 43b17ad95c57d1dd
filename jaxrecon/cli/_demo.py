"""``jaxrecon demo``: honest raw data of real anatomy, every method of the table, one picture each.

The anatomy travels inside pip wheels (a head CT in pydicom's, the MNI152 T1 average in nilearn's).
Measurements are simulated on a finer grid than the one of the reconstruction, with noise; coil maps
are estimated from the measurement, as a scanner would. Later methods join by a row in the table.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrecon import data, metrics, viz
from jaxrecon.cli import _terminal
from jaxrecon.cli._models import is_there
from jaxrecon.cli.methods import Measurement, methods_of
from jaxrecon.core._store import whole_file
from jaxrecon.physics import mri


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A simulated measurement with its truth and how to show it."""

    modality: str
    title: str
    measurement: Measurement
    truth: np.ndarray
    window: tuple[float, float] | None
    units: str | None
    facts: tuple[str, ...]


def run_demo(out: str, *, quick: bool = False) -> None:
    """Simulates, reconstructs, compares, and writes ``ct.png``, ``mri.png``, ``results.json``.

    Raises:
        ValueError: `out` cannot be a folder.
    """
    folder = _folder(out)
    records: list[dict[str, Any]] = []
    with _terminal.reporting() as report:
        for simulate in (_ct_scene, _mri_scene):
            report.start(f"simulate {simulate.__name__[1:-6]}", 0)
            scene = simulate(quick)
            report.finish()
            images, scores = _reconstruct_all(scene, report)
            records += [_record(scene, name, scores[name]) for name in images]
            figure = viz.comparison(
                scene.truth,
                images,
                scores={name: _shown(score) for name, score in scores.items()},
                title=scene.title,
                window=scene.window,
                units=scene.units,
            )
            viz.save(figure, folder / f"{scene.modality}.png")
    with whole_file(folder / "results.json") as file:
        file.write(json.dumps(records, indent=1).encode())
    for record in records:
        _terminal.say(f"{record['modality']}", _line(record))
    _terminal.say("wrote", [str(folder / n) for n in ("ct.png", "mri.png", "results.json")])


def _ct_scene(quick: bool) -> Scene:
    anatomy = data.ct_slice()
    fine, pixel = anatomy.values, anatomy.pixel
    if quick:
        fine, pixel = data.downsample(fine, 4), 4 * pixel
    n_views, photons = (60 if quick else 180), 2e4
    scan = data.simulate_ct(
        fine, pixel, key=jax.random.key(1), n_views=n_views, photons=photons, factor=2
    )
    size = " x ".join(map(str, scan.truth.shape))
    return Scene(
        modality="ct",
        title=f"CT of a head, {size}, {n_views} views, {photons:.0e} photons per bin",
        measurement=Measurement(
            operator=scan.operator, data=scan.line_integrals, weights=scan.weights
        ),
        truth=np.asarray(scan.truth),
        window=(0.0, 0.03),
        units="1/mm",
        facts=(anatomy.source, *scan.facts),
    )


def _mri_scene(quick: bool) -> Scene:
    anatomy = data.t1_slice()
    fine = data.downsample(anatomy.values, 2) if quick else anatomy.values
    shape = tuple(3 * n // 4 for n in fine.shape)
    acceleration, sigma, n_coils = (3.0 if quick else 5.0), 0.01, 8
    scan = data.simulate_mri(
        fine,
        key=jax.random.key(2),
        shape=(shape[0], shape[1]),
        sigma=sigma,
        n_coils=n_coils,
        acceleration=acceleration,
        calibration=20 if quick else 24,
    )
    maps = mri.espirit(scan.kspace)
    size = " x ".join(map(str, shape))
    return Scene(
        modality="mri",
        title=f"MRI of a brain (MNI152 average), {size}, {n_coils} coils, {acceleration:g}-fold",
        measurement=Measurement(operator=mri.sense(maps, scan.mask), data=scan.kspace),
        # The maps' phase is a free gauge, so magnitudes are compared.
        truth=np.abs(np.asarray(scan.truth)),
        window=None,
        units=None,
        facts=(anatomy.source, *scan.facts, "reconstructed with ESPIRiT maps of the same data"),
    )


def _reconstruct_all(scene: Scene, report: _terminal.Report):
    images, scores = {}, {}
    for method in filter(is_there, methods_of(scene.modality)):
        if method.defaults.samples:
            continue  # minutes
        report.start(method.name, method.defaults.n_iter)
        start = time.perf_counter()
        outcome = method(scene.measurement, report)
        image = np.asarray(outcome.image)
        seconds = time.perf_counter() - start
        report.finish()
        images[method.name] = np.abs(image) if np.iscomplexobj(image) else image
        summary = metrics.summary(images[method.name], scene.truth)
        scores[method.name] = {k: float(v) for k, v in summary.items()} | {"seconds": seconds}
    return images, scores


def _record(scene: Scene, name: str, score: dict[str, float]) -> dict[str, Any]:
    return {"modality": scene.modality, "method": name, **score, "conditions": list(scene.facts)}


def _shown(score: dict[str, float]) -> dict[str, float]:
    return {name: score[name] for name in ("psnr", "ssim", "nrmse")}


def _line(record: dict[str, Any]) -> str:
    return (
        f"{record['method']:<12} PSNR {record['psnr']:5.2f} dB   SSIM {record['ssim']:.3f}   "
        f"NRMSE {record['nrmse']:.3f}   {record['seconds']:5.1f} s"
    )


def _folder(out: str) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"`--out` {out!r} cannot be a folder: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ValueError(f"`--out` {out!r} cannot be written to")
    return folder
