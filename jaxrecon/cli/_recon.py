"""``jaxrecon recon``: one raw file to one image."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrecon import io
from jaxrecon.cli import _terminal
from jaxrecon.cli._model import Model, build_model
from jaxrecon.cli.methods import METHODS, Measurement, Method, Outcome, find_method
from jaxrecon.posterior.calibration import summarise

# Quantiles of the samples, the least number of samples that has them, and the maps of both.
LEVELS, N_SAMPLES = (0.05, 0.95), 19
_MAPS = ("std", "low", "high", "samples")

# Modality and sampling of what a file comes to, as the table of methods has them.
_KINDS = {
    io.CTScan: ("ct", ""),
    io.MRIScan: ("mri", "Cartesian"),
    io.NonCartesianScan: ("mri", "non-Cartesian"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for."""

    source: str
    method: str
    out: str
    slices: Any = None
    maps: str | None = None
    size: int | None = None
    center: float | None = None
    map_sets: int | None = None
    remove_stripes: bool = False
    n_iter: int | None = None
    strength: float | None = None
    model: str | None = None
    samples: int | None = None
    command: Sequence[str] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The solver's settings; None means the method's default."""
        names = ("n_iter", "strength", "model", "samples")
        return {name: getattr(self, name) for name in names}


def reconstruct(request: Request) -> None:
    """Reads, reconstructs, reports and writes; nothing is written unless all succeeded.

    Raises:
        ValueError: one line that names the file, field or option.
    """
    _check_request(request)
    inputs = [request.source, *([request.maps] if request.maps else [])]
    io.check_output(request.out, inputs=inputs, maps=_maps_of(request))
    _terminal.say("input", request.source)
    scan = io.read(request.source, slices=request.slices, maps=request.maps)
    for label in ("understood", "assumed", "repaired"):
        _terminal.say(label, getattr(scan, label))
    modality, sampling = _KINDS[type(scan)]
    method = find_method(modality, request.method, sampling)
    network = _network(method, request.model)
    model = build_model(
        scan,
        source=request.source,
        size=request.size,
        center=request.center,
        map_sets=request.map_sets,
        remove_stripes=request.remove_stripes,
    )
    _terminal.say("model", model.facts)
    _terminal.say("method", f"{method.name}: {method.summary}")
    _terminal.say("network", network.facts)

    start = time.perf_counter()
    outcomes = _run_slices(model, method, request.settings)
    seconds = time.perf_counter() - start
    quality = _quality(model, outcomes)
    _terminal.say("quality", [f"{name}: {_text(value)}" for name, value in quality.items()])
    _write(request, scan, model, method, network, outcomes, quality, seconds)


def _maps_of(request: Request) -> list[str]:
    """Names of what is written beside the image."""
    is_sampled = any(m.name == request.method and m.defaults.samples for m in METHODS.values())
    return list(_MAPS) if is_sampled else []


class _Network(NamedTuple):
    """What is printed and what is recorded of a method's network; nothing if it has none."""

    facts: list[str]
    record: dict[str, Any]


def _network(method: Method, name: str | None) -> _Network:
    if method.network is None:
        if name is not None:
            names = dict.fromkeys(m.name for m in METHODS.values() if m.network)
            raise ValueError(
                f"`--model` belongs to {', '.join(names)}: `--method` is {method.name}"
            )
        return _Network([], {})
    from jaxrecon.cli import _models  # flax takes a second

    card = _models.suited(method, name)
    return _Network(_models.facts(card), {"network": _models.identity(card)})


def _check_request(request: Request) -> None:
    names = {name for _, name in METHODS}
    if request.method not in names:
        raise ValueError(
            f"`--method` {request.method!r} is unknown: --list-methods shows what there is"
        )
    if request.n_iter is not None and not 1 <= request.n_iter < 2**31:
        raise ValueError(f"`--iterations` is {request.n_iter}, expected 1 to 2147483647")
    if request.map_sets not in (None, 1, 2):
        raise ValueError(f"`--map-sets` is {request.map_sets}, expected 1 or 2")
    if request.map_sets is not None and request.maps is not None:
        raise ValueError("`--map-sets` is for estimated maps: leave it out beside --maps")
    sampled = {m.name for m in METHODS.values() if m.defaults.samples}
    if request.samples is not None and request.method not in sampled:
        raise ValueError(f"`--samples` belongs to {', '.join(sampled)}: not {request.method}")
    if request.samples is not None and not N_SAMPLES <= request.samples < 2**16:
        raise ValueError(
            f"`--samples` is {request.samples}, expected {N_SAMPLES} to 65535: fewer do not tell "
            f"where {LEVELS[-1] - LEVELS[0]:.0%} of the posterior lie"
        )
    if request.strength is not None and not 0 <= request.strength < np.inf:
        raise ValueError(f"`--strength` is {request.strength}, expected a number of at least 0")


def _run_slices(model: Model, method: Method, settings: dict[str, Any]) -> list[Outcome]:
    outcomes = []
    n_slices = len(model.measurements)
    with _terminal.reporting() as report:
        for i, measurement in enumerate(model.measurements):
            label = method.name if n_slices == 1 else f"{method.name} {i + 1}/{n_slices}"
            report.start(label, method.n_steps(**settings))
            outcome = method(measurement, report, **settings)
            if not np.isfinite(np.asarray(outcome.image)).all():
                raise ValueError(
                    f"`--method` {method.name}: the image is not finite; try a smaller --strength"
                )
            report.finish()
            outcomes.append(outcome)
    return outcomes


def _quality(model: Model, outcomes: list[Outcome]) -> dict[str, Any]:
    """The figures that need no truth: how well the image explains the data, how the run ended."""
    pairs = zip(model.measurements, outcomes, strict=True)
    misfits = [_data_residual(m, o) for m, o in pairs]
    quality: dict[str, Any] = {"data residual |Ax-y|/|y|": float(np.mean(misfits))}
    if outcomes[0].status is not None:
        quality["iterations"] = [outcome.n_iter for outcome in outcomes]
        quality["solver"] = sorted({o.status.advice for o in outcomes if o.status is not None})
    if outcomes[0].samples is not None:
        quality["samples"] = len(outcomes[0].samples)
        quality["noise of the data, estimated"] = [o.noise for o in outcomes]
    return quality


def _data_residual(measurement: Measurement, outcome: Outcome) -> float:
    difference = np.asarray(measurement.operator(outcome.image) - measurement.data)
    data = np.asarray(measurement.data)
    weights = 1.0 if measurement.weights is None else np.asarray(measurement.weights)
    energy = lambda z: float(np.sum(weights * np.abs(z) ** 2))  # noqa: E731
    return (energy(difference) / max(energy(data), 1e-30)) ** 0.5


def _write(request, scan, model, method, network, outcomes, quality, seconds) -> None:
    images = np.stack([model.finish(outcome.image) for outcome in outcomes])
    settings = {k: v for k, v in request.settings.items() if v is not None}
    parameters = {
        "method": method.name,
        "settings": dataclasses.asdict(method.defaults) | settings,
        "model": model.facts,
        **network.record,
    }
    inputs = [request.source, *([request.maps] if request.maps else [])]
    provenance = io.record(
        inputs,
        scan,
        parameters=parameters,
        quality=quality,
        seconds=seconds,
        command=" ".join(request.command),
    )
    image = images[0] if len(images) == 1 else images
    # Between slices the file tells no distance, so only a single image carries its pixel size.
    spacing = model.spacing if image.ndim == 2 else None
    maps, window = _uncertainty(model, outcomes)
    written = io.write(
        request.out, image, provenance=provenance, spacing=spacing, window=window, maps=maps
    )
    _terminal.say("wrote", ", ".join(str(path) for path in written))


def _uncertainty(
    model: Model, outcomes: list[Outcome]
) -> tuple[dict[str, io.Map], tuple[float, float] | None]:
    """Deviation, interval and, of a single slice, the samples; and the window of all but the first.

    Of complex images the interval is that of the magnitude, the deviation that of both parts.
    """
    sets = [o.samples for o in outcomes if o.samples is not None]
    if not sets:
        return {}, None
    drawn = [np.stack([model.finish(x) for x in samples]) for samples in sets]
    known = [summarise(jnp.asarray(samples), levels=LEVELS) for samples in drawn]
    low, high = (np.stack([np.asarray(s.quantiles[i]) for s in known]) for i in (0, -1))
    window = float(np.percentile(low, 0.1)), float(np.percentile(high, 99.9))
    window = window if window[1] > window[0] else None
    stacked = (np.stack([np.asarray(s.std) for s in known]), low, high)
    values = [v[0] if len(drawn) == 1 else v for v in stacked]
    windows = (None, window, window, window)
    values += [drawn[0]] if len(drawn) == 1 else []
    named = zip(_MAPS, values, windows, strict=False)
    return {name: io.Map(v, w) for name, v, w in named}, window


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
