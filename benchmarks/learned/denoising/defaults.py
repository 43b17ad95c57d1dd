"""Which settings should `recon --method pnp` begin with? Tuned on scans that judge nothing else.

    python benchmarks/learned/denoising/defaults.py [ct] [mri] [--model denoiser-grey]
        [--data FOLDER]

CT: slices 53 and 57 of the head CT at 60 and 180 views, 10⁴ and 2·10⁴ photons. MRI: a slice of
Colin27, 4-fold by lines, 4- and 8-fold by points, eight coils, ESPIRiT maps (which 8-fold lines
leave too little for). Every pair of a strength and a trust is tried on every scan. One JSON record
a line with the PSNR of the scans, then the best mean; magnitudes are compared in MRI.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
from _quality.medical import fixed_lines, fourier_crop, head_attenuation, squared
from _settings import axial

from jaxrecon import data, metrics
from jaxrecon.cli.methods import Measurement, find_method
from jaxrecon.physics import mri

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
STRENGTHS = (0.005, 0.01, 0.02, 0.04)
TRUSTS = tuple(0.23 * 4.0**k for k in (-4, -3, -2, -1, 0, 1))

Scan = tuple[Measurement, jax.Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(SCANS), help=", ".join(SCANS))
    parser.add_argument("--model", default="denoiser-grey")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/")
    options = parser.parse_args()
    for kind in options.kinds:
        scans, found = list(SCANS[kind](options.data)), {}
        for strength in STRENGTHS:
            for trust in TRUSTS:
                settings = {"strength": strength, "trust": trust, "model": options.model}
                values = [psnr(kind, scan, settings) for scan in scans]
                found[strength, trust] = float(np.mean(values))
                record = {"kind": kind, **settings, "psnr": np.round(values, 2).tolist()}
                print(json.dumps(record), flush=True)
        best = max(found, key=lambda pair: found[pair])
        print(json.dumps({"kind": kind, "best": best, "psnr": round(found[best], 2)}), flush=True)


def psnr(kind: str, scan: Scan, settings: dict) -> float:
    """Of one scan."""
    measurement, truth = scan
    image = find_method(kind, "pnp")(measurement, **settings).image
    value = float(metrics.psnr(jnp.abs(image), truth))
    return value if np.isfinite(value) else 0.0


def ct_scans(folder: Path) -> Iterator[Scan]:
    """Of two slices each."""
    attenuation, pixel = head_attenuation(folder)
    for n_views, photons in ((60, 1e4), (180, 2e4)):
        for z in (53, 57):
            dose = {"n_views": n_views, "photons": photons, "factor": 2}
            scan = data.simulate_ct(attenuation[z], pixel, key=jax.random.key(z), **dose)
            weighted = {"data": scan.line_integrals, "weights": scan.weights}
            yield Measurement(operator=scan.operator, **weighted), scan.truth


def mri_scans(folder: Path) -> Iterator[Scan]:
    """Of one slice each."""
    colin = axial(folder / "volumes/mr_t1_colin27_ch2.nii.gz")
    n = 144
    fine = fourier_crop(squared(colin[90]), n * 4 // 3) / np.percentile(colin, 99.9)
    points = [mri.poisson_disc_mask(jax.random.key(r), (n, n), r, calibration=24) for r in (4, 8)]
    for mask in (fixed_lines(n, 4), *points):
        options = {"shape": (n, n), "sigma": 0.01, "n_coils": 8, "mask": mask}
        scan = data.simulate_mri(jnp.asarray(fine), key=jax.random.key(5), **options)
        A = mri.sense(mri.espirit(scan.kspace), scan.mask)
        yield Measurement(operator=A, data=scan.kspace), jnp.abs(scan.truth)


SCANS = {"ct": ct_scans, "mri": mri_scans}


if __name__ == "__main__":
    main()
