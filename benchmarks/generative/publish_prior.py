"""Judges the prior that `prior.py` has trained, draws it, and writes it as a network that ships.

    python benchmarks/generative/publish_prior.py [--seed 0] [--out FOLDER] [--into FOLDER]
        [--hardware TEXT] [--date DAY] [--picture FILE]

The weights of the best checkpoint are rounded to the storage type and judged as they will be
loaded, on slices of two patients that nothing was chosen by: PSNR of denoised slices beside
`denoiser-grey`, and PSNR and spread of samples of 4x undersampled scans. The picture has training
slices, unconditional samples, and the samples of one of those scans.
"""

import argparse
import dataclasses
import datetime
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))

import jax
import jax.numpy as jnp
import numpy as np
import prior
from _brains import test_slices, training_slices
from _cards import COLIN, LICENCE, MNI, NO_DEVICE, PYRADIOMICS, STUDYFORREST
from _quality.medical import pyradiomics_brains
from flax import nnx
from publish import SHIPPED, figure

from jaxrecon import data
from jaxrecon.core import LinearOperator, from_function
from jaxrecon.nets import pretrained
from jaxrecon.physics import mri
from jaxrecon.posterior import (
    Diffusion,
    ProximalStep,
    Unconditional,
    karras_levels,
    posterior,
    sample,
)

SIGMAS = (0.1, 0.05, 0.2, 0.5)  # the first stands for the prior in lists
HIGH, LOW, STEPS = 20.0, 0.005, 30
ACCELERATION, NOISE, N_SAMPLES = 4, 0.01, 8
SHOWN = 4  # which test slice
PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "generative-prior.png"


class Scan(NamedTuple):
    """What was measured of a slice, what it shows at once, and the truth."""

    operator: LinearOperator
    kspace: jax.Array
    first: jax.Array
    truth: jax.Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float16")
    parser.add_argument("--hardware", default=platform.processor() or platform.machine())
    parser.add_argument("--remark", default="", help="on the training, after its recipe")
    parser.add_argument(
        "--date", type=datetime.date.fromisoformat, default=datetime.date.today(), metavar="DAY"
    )
    parser.add_argument("--data", type=Path, default=prior.DATA, help="folder of volumes/")
    parser.add_argument("--out", type=Path, default=Path(".prior"), help="of the training")
    parser.add_argument("--into", type=Path, default=SHIPPED, help="where to write")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.set_defaults(steps=1, validate_every=1)
    options = parser.parse_args()
    net, step = trained(options)
    card = described(step, options)
    with tempfile.TemporaryDirectory() as place:
        pretrained.publish(net, card, place, dtype=options.dtype)
        stored = pretrained.load(card.name, folder=place)
    samples, found = scanned(stored, options.data)
    card = dataclasses.replace(card, figures=(*denoised(stored, options.data), *found))
    pretrained.publish(net, card, options.into, dtype=options.dtype)
    print(*map(str, card.figures), sep="\n")
    draw(stored, samples, options)


def trained(options: argparse.Namespace) -> tuple[nnx.Module, int]:
    """The network of the best checkpoint, and after how many steps it was."""
    net = prior.ARCHITECTURE.build(rngs=nnx.Rngs(0))
    trainer = prior.trainer(options)
    with (trainer.path("log.jsonl") or Path()).open() as file:
        lines = [json.loads(line) for line in file]
    losses = {line["step"]: line["loss"] for line in lines if line["kind"] == "validation"}
    return trainer.best(net), min(losses, key=lambda step: losses[step])


def described(step: int, options: argparse.Namespace) -> pretrained.Card:
    """The card without figures."""
    architecture = prior.ARCHITECTURE
    return pretrained.Card(
        name="prior-brain",
        title="small diffusion prior of T1 slices of heads",
        task="denoising",
        modality="mri",
        description=f"a U-Net of {architecture.width} channels that is told the noise level, with "
        "the preconditioning of Karras et al. (2022): a denoiser of every noise level, for the "
        "samplers of jaxrecon.posterior and for plug-and-play",
        units="magnitude images of 64² pixels over about 24 cm, 1 the 99.9th percentile; sigma in "
        "the same units",
        use="upright axial T1 slices, sigma from 0.005 to 20; a prior to learn and test "
        "samplers with",
        limits=(
            "made of one volume and an average, in less than an hour of one core: unconditional "
            "samples have the outline and the rough anatomy of a head, and none of its detail",
            "up to sigma 0.1 denoiser-grey denoises a little better: see the figures",
            "samples of a scan spread less than they err: no measure of uncertainty",
            "64² pixels, upright, real and not negative: complex images need their phase",
            "other contrasts, such as after contrast agent, and pathology were never seen",
            NO_DEVICE,
        ),
        licence=LICENCE,
        architecture=architecture,
        training=pretrained.Training(
            command=f"python benchmarks/generative/prior.py --seed {options.seed}",
            recipe="denoising score matching with the weights of Karras et al. (2022), ln sigma ~ "
            f"N({prior.LEVELS.mean:g}, {prior.LEVELS.deviation:g}²), {step} steps of Adam on "
            f"{prior.BATCH} slices, rate {prior.RATE:g} after a warm-up, moving average of the "
            "weights; mirrored, zoom from 0.95 to 1.4, shifts, brightness, random curves of "
            f"contrast{options.remark}",
            seeds=(options.seed,),
            date=options.date,
            hardware=options.hardware,
            versions=pretrained.versions(),
        ),
        data=(
            STUDYFORREST(use="training", amount="180 axial slices"),
            MNI(use="training", amount="50 axial slices"),
            COLIN(use="validation", amount="12 axial slices"),
            PYRADIOMICS(use="test", amount="12 slices of two patients"),
        ),
    )


# -------------------------------------------------------------------------------------- judgement


def denoised(net: Any, folder: Path) -> tuple[pretrained.Figure, ...]:
    """PSNR of denoised slices; the range is that of the slice."""
    truth = jnp.asarray(test_slices(folder, prior.SIZE))
    grey = pretrained.load("denoiser-grey")
    figures = []
    for sigma in SIGMAS:
        y = truth + sigma * jax.random.normal(jax.random.key(round(1000 * sigma)), truth.shape)
        beside = {"noisy": psnr(y, truth), "denoiser-grey": psnr(_each(grey, y, sigma), truth)}
        over = f"denoising of T1 slices with contrast agent, sigma {sigma:g}"
        figures.append(figure(psnr(_each(net, y, sigma), truth), over, "slices", _lists(beside)))
    return tuple(figures)


def scanned(net: Any, folder: Path) -> tuple[list[Any], tuple[pretrained.Figure, ...]]:
    """Samples of the scans of all test slices, and the PSNR of their means."""
    fine = pyradiomics_brains(folder, prior.SIZE * 3 // 2, 12)
    scans = [scan(jnp.asarray(x), jax.random.key(i)) for i, x in enumerate(fine)]
    draws = [_samples(net, s.operator, s.kspace, jax.random.key(50)) for s in scans]
    truth = jnp.stack([s.truth for s in scans])
    means = jnp.stack([d.mean(0) for d in draws])
    beside = {"zero-filled": psnr(jnp.stack([s.first for s in scans]), truth)}
    beside["one sample"] = psnr(jnp.stack([d[0] for d in draws]), truth)
    spread = jnp.sqrt(jnp.mean(jnp.stack([d.var(0, ddof=1) for d in draws])))
    error = jnp.sqrt(jnp.mean((means - truth) ** 2))
    print(json.dumps({"spread of samples": float(spread), "error of their mean": float(error)}))
    over = (
        f"mean of {N_SAMPLES} samples, scans with {ACCELERATION}x random lines, 8 coils, maps and "
        f"phase known; the samples' deviation is {float(spread / error):.2f} of the mean's error"
    )
    return list(zip(scans, draws)), (figure(psnr(means, truth), over, "slices", _lists(beside)),)


def scan(fine: jax.Array, key: jax.Array) -> Scan:
    """Of a slice with the phase of its coils alone, which is known: the image is real."""
    n = prior.SIZE
    lines = mri.random_lines_mask(
        jax.random.key(2), (1, n), ACCELERATION, calibration=n // (2 * ACCELERATION)
    )
    s = data.simulate_mri(fine, key=key, shape=(n, n), sigma=NOISE, mask=lines, phase=0.0)
    A = from_function(_of_real, s.truth.real, s.operator)
    return Scan(A, s.kspace, A.H(s.kspace), s.truth.real)


def _of_real(A: LinearOperator, x: jax.Array) -> jax.Array:
    return A(x.astype(A.domain.dtype))


@jax.jit
def _samples(net: Any, A: LinearOperator, y: jax.Array, key: jax.Array) -> jax.Array:
    levels = karras_levels(STEPS, high=HIGH, low=LOW)
    sampler = Diffusion(levels, ProximalStep(n_inner=5), fresh=1.0)
    return sample(sampler, posterior(A, y, NOISE, net), key, n_samples=N_SAMPLES).value


@jax.jit
def unconditional(net: Any, like: LinearOperator, y: jax.Array, key: jax.Array) -> jax.Array:
    """Samples of the prior, by Heun's method; the scan says no more than their size."""
    sampler = Diffusion(karras_levels(STEPS, high=HIGH, low=LOW), Unconditional(), order=2)
    return sample(sampler, posterior(like, y, NOISE, net), key, n_samples=N_SAMPLES).value


@jax.jit
def _each(net: Any, images: jax.Array, sigma: Any) -> jax.Array:
    return jax.lax.map(lambda x: net(x, sigma), images)


def psnr(images: Any, truth: Any) -> np.ndarray:
    """In dB, of each image, for the range of its truth."""
    errors = jnp.mean((images - truth) ** 2, (1, 2))
    return np.asarray(10 * jnp.log10(jnp.max(truth, (1, 2)) ** 2 / errors))


def _lists(scores: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in scores.items()}


# ---------------------------------------------------------------------------------------- picture


def draw(net: Any, samples: list[Any], options: argparse.Namespace) -> None:
    """Training slices, samples of the prior, samples of a scan."""
    import matplotlib.pyplot as plt

    s, draws = samples[SHOWN]
    drawn = unconditional(net, s.operator, s.kspace, jax.random.key(1))
    known = training_slices(options.data, prior.SIZE)[20:230:28][:8]
    mean, deviation = draws.mean(0), draws.std(0, ddof=1)
    last = {"truth": s.truth, "zero-filled": s.first}
    last |= {f"sample {i + 1}": draws[i] for i in range(3)}
    last |= {"mean": mean, "|error| x 4": 4 * abs(mean - s.truth), "deviation x 4": 4 * deviation}
    rows = [
        {f"trained on{' ' * i}": x for i, x in enumerate(known)},
        {f"sample{' ' * i}": x for i, x in enumerate(drawn)},
        last,
    ]
    figure, panels = plt.subplots(3, 8, figsize=(12, 5), layout="constrained")
    for axes, row in zip(panels, rows):
        for panel, (title, image) in zip(axes, row.items()):
            panel.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=1)
            panel.set_title(title.strip(), fontsize=9)
            panel.axis("off")
    figure.savefig(options.picture, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
