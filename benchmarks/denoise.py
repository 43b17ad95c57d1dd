"""How good, fast and lean are the denoisers, and BM3D beside the bm3d package?

    python benchmarks/denoise.py [--install] [--quick] [--data FOLDER] [--sigmas 15 25] [NAME ...]

On the photographs of Set12 (`set12.npz` in the folder) with the same noise for everyone: PSNR in dB
(range 1) of every image and their mean, milliseconds on one 256² image (the least of several runs,
rivals in turn with ours, compilation apart), memory, versions. One JSON record a line. `--install`
first puts the bm3d package into this environment; where it is absent the record says so.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import _memory
import jax
import jax.numpy as jnp
import numpy as np
from _rivals import has

from jaxrecon.functionals import denoisers as dn
from jaxrecon.nets.priors import read_dncnn

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

DENOISERS = {
    "bm3d": dn.BM3D(),
    "non-local means": dn.NonLocalMeans(),
    "dct": dn.DCTDenoiser(),
    "wavelet": dn.WaveletShrinkage(),
    "total variation": dn.total_variation(),
    "total generalised variation": dn.total_generalised_variation(),
    "bilateral": dn.Bilateral(),
    "wiener": dn.Wiener(),
    "median": dn.Median(),
    "gaussian": dn.Gaussian(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(DENOISERS)}, dncnn; all if none")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train/ and denoisers/")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50], help="of 255")
    parser.add_argument("--quick", action="store_true", help="three images, few repetitions")
    parser.add_argument("--install", action="store_true", help="install the bm3d package with pip")
    options = parser.parse_args()
    if options.install:
        subprocess.run([sys.executable, "-m", "pip", "install", "bm3d"], check=True)
    chosen = options.names or [*DENOISERS, "dncnn"]
    unknown = set(chosen) - {*DENOISERS, "dncnn"}
    if unknown:
        parser.error(f"unknown denoiser {', '.join(unknown)}")
    print(json.dumps(versions()), flush=True)
    images = photographs(options.data, options.quick)
    subjects = {name: compiled_denoiser(DENOISERS[name]) for name in chosen if name in DENOISERS}
    if "dncnn" in chosen:
        network = read_dncnn(options.data / "denoisers" / "kair_dncnn_25.npz")
        subjects["dncnn (for 25 only)"] = compiled_denoiser(network)
    if "bm3d" in chosen and has("bm3d"):
        subjects["bm3d package"] = package
    elif "bm3d" in chosen:
        report("absent", of="bm3d package")
    for sigma in options.sigmas:
        for name, denoise in subjects.items():
            quality(name, denoise, images, sigma / 255)
    speed(subjects, images, 2 if options.quick else 5)
    for name in set(chosen) & set(DENOISERS):
        memory(name, DENOISERS[name], (256, 256))
    report("process", peak_bytes=_memory.peak_bytes())


# ------------------------------------------------------------------------------------ measurements


def quality(name: str, denoise: Callable, images: list[np.ndarray], sigma: float) -> None:
    """PSNR over the images."""
    values = [psnr(denoise(noisy(x, sigma, i), sigma), x) for i, x in enumerate(images)]
    each = [round(v, 2) for v in values]
    mean = round(float(np.mean(values)), 3)
    report("quality", of=name, sigma=round(255 * sigma, 2), psnr=mean, images=each)


def speed(subjects: dict[str, Callable], images: list[np.ndarray], repeat: int) -> None:
    """Milliseconds of wall clock and of processor, on the first image of each size."""
    sizes = {x.shape: x for x in reversed(images)}
    for shape, x in sorted(sizes.items()):
        y, best = noisy(x, 0.1, 0), dict.fromkeys(subjects, (np.inf, np.inf))
        for denoise in subjects.values():
            denoise(y, 0.1)
        for _ in range(repeat):
            for name, denoise in subjects.items():
                best[name] = min(best[name], timed(denoise, y))
        for name, (wall, processor) in best.items():
            times = {"ms": round(wall, 1), "processor_ms": round(processor, 1)}
            if name == "bm3d" and "bm3d package" in best:
                times["package_over_ours"] = round(best["bm3d package"][0] / wall, 2)
            report("speed", of=name, shape=shape, **times)


def timed(denoise: Callable, y: np.ndarray) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    denoise(y, 0.1)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)


def memory(name: str, denoiser: dn.Denoiser, shape: tuple[int, int]) -> None:
    """Seconds to compile, and bytes beside the image."""
    start = time.perf_counter()
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    program = jax.jit(lambda D, x, sigma: D(x, sigma)).lower(denoiser, image, 0.1).compile()
    seconds = round(time.perf_counter() - start, 2)
    temporary = _memory.temporary_bytes(program)
    report("memory", of=name, shape=shape, compile_s=seconds, temporary_bytes=temporary)


def compiled_denoiser(denoiser: dn.Denoiser) -> Callable:
    run = jax.jit(lambda D, y, sigma: D(y, sigma))
    return lambda y, sigma: jax.block_until_ready(run(denoiser, y, sigma))


def package(y: np.ndarray, sigma: float) -> np.ndarray:
    import bm3d  # pyright: ignore[reportMissingImports]

    return bm3d.bm3d(y, sigma)


def photographs(folder: Path, quick: bool) -> list[np.ndarray]:
    """Set12 in [0, 1]; of a quick run three of its 256² images."""
    with np.load(folder / "train" / "set12.npz") as file:
        images = [file[name].astype(np.float32) / 255 for name in sorted(file.files)]
    return images[:3] if quick else images


def noisy(x: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(1000 * round(255 * sigma) + seed)
    return x + np.float32(sigma) * rng.standard_normal(x.shape, np.float32)


def psnr(got, expected: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(got) - expected) ** 2)))


def report(section: str, **record) -> None:
    print(json.dumps({"section": section} | record), flush=True)


def versions() -> dict:
    from importlib import metadata

    installed = {d.name.lower() for d in metadata.distributions()}
    found = {name: metadata.version(name) for name in ("jax", "bm3d", "bm4d") if name in installed}
    return found | {"python": platform.python_version(), "device": jax.devices()[0].device_kind}


if __name__ == "__main__":
    main()
