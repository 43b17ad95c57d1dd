"""Do the intervals of `recon --method posterior` hold what they promise?

    python benchmarks/generative/intervals.py [ct] [mri] [--model NAME] [--samples 19]
        [--data FOLDER]

On the scans of `learned/denoising/defaults.py` (another slab of the head than any network was
trained on, and Colin27; simulated from finer grids, MRI with estimated maps), with the noise
estimated from the data as `recon` does. One JSON record a line:

- one, mean: PSNR of a sample and of the mean, dB;
- within_50, within_90: the share of the object's pixels in the central intervals;
- spread, error: root mean square of the samples' deviation and of their mean's error over the
  object, in units of its greatest value.

In MRI magnitudes are compared. The object is where truth is above a tenth of its maximum.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned" / "denoising"))

import jax.numpy as jnp
from defaults import DATA, SCANS

from jaxrecon import metrics
from jaxrecon.cli._model import noise_of_kspace, noise_of_views
from jaxrecon.cli.methods import Measurement, find_method
from jaxrecon.posterior.calibration import coverage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(SCANS), help=", ".join(SCANS))
    parser.add_argument("--model", default="denoiser-grey")
    parser.add_argument("--samples", type=int, default=19)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/")
    options = parser.parse_args()
    for kind in options.kinds:
        method = find_method(kind, "posterior")
        for i, (scan, truth) in enumerate(SCANS[kind](options.data)):
            known = dataclasses.replace(scan, noise=functools.partial(noise, kind, scan))
            start = time.perf_counter()
            outcome = method(known, samples=options.samples, model=options.model)
            samples = jnp.abs(outcome.samples)
            seconds = time.perf_counter() - start
            record = {"kind": kind, "scan": i, "noise": outcome.noise, **judge(samples, truth)}
            record["seconds"] = seconds
            rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in record.items()}
            print(json.dumps(rounded), flush=True)


def noise(kind: str, scan: Measurement) -> float:
    """As `recon` estimates it."""
    if kind == "ct":
        return noise_of_views(scan.data, scan.weights)
    return noise_of_kspace(scan.data, scan.operator.mask)


def judge(samples, truth) -> dict[str, float]:
    """Of real samples, in the object."""
    inside = truth > 0.1 * jnp.max(truth)
    mean = samples.mean(axis=0)
    within = coverage(samples[:, inside], truth[inside], (0.5, 0.9))
    error = jnp.sqrt(jnp.mean((mean - truth)[inside] ** 2)) / jnp.max(truth)
    spread = jnp.sqrt(jnp.mean(samples.var(axis=0, ddof=1)[inside])) / jnp.max(truth)
    found = {
        "one": metrics.psnr(samples[0], truth),
        "mean": metrics.psnr(mean, truth),
        "within_50": within[0],
        "within_90": within[1],
        "spread": spread,
        "error": error,
    }
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    main()
