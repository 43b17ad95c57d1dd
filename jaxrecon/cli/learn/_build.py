"""From a configuration to images, scans, networks and losses."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.cli.learn._config import Config, Data, Model, Scan
from jaxrecon.core import LinearOperator
from jaxrecon.nets.images import UNet
from jaxrecon.nets.reconstruction import (
    ConvNet,
    Equilibrium,
    FilteredBackprojection,
    MatchedAdjoint,
    PostProcessing,
    Unrolled,
    learned_primal_dual,
    modl,
    stacked,
)
from jaxrecon.physics import ct, mri
from jaxrecon.solvers import ADMM, ProximalGradient
from jaxrecon.training import losses
from jaxrecon.training.input import ArraySource, Gaussian, Measure, Photons, random_masks


class Images(NamedTuple):
    """Images in memory, and what is known of them."""

    source: ArraySource
    shape: tuple[int, int]
    peak: float


def read_images(path: str, data: Data, scan: Scan) -> Images:
    """The images of a file or folder; complex for MRI.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    stack = _read_npz(path, data.array) if path.endswith(".npz") else _read_folder(path)
    if stack.dtype.kind not in "biufc":
        raise ValueError(f"{path}: images are of type {stack.dtype}, expected numbers")
    if stack.ndim != 3 or not len(stack):
        raise ValueError(f"{path}: images have shape {stack.shape}, expected (n, y, x)")
    if not np.isfinite(stack).all():
        raise ValueError(f"{path}: images have values that are not finite")
    if scan.kind == "ct" and np.iscomplexobj(stack):
        raise ValueError(f"{path}: images are complex, expected real attenuations for ct")
    stack = stack.astype(np.complex64 if scan.kind == "mri" else np.float32)
    shape = (int(stack.shape[1]), int(stack.shape[2]))
    return Images(ArraySource(x=stack), shape, float(np.abs(stack).max()))


def _read_npz(path: str, name: str) -> np.ndarray:
    try:
        with open(path, "rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("an array, expected an .npz archive")
            if name not in file.files:
                raise ValueError(f"no array {name!r}, but {', '.join(file.files)}")
            return file[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from None


def _read_folder(path: str) -> np.ndarray:
    from jaxrecon.training.input import ImageFiles

    files = sorted(p for p in Path(path).glob("*") if p.is_file()) if Path(path).is_dir() else []
    if not files:
        raise ValueError(f"{path}: expected an .npz file or a folder of images")
    images = ImageFiles(files)
    stack = [images[i]["image"] for i in range(len(images))]
    shapes = {image.shape for image in stack}
    if len(shapes) > 1:
        raise ValueError(f"{path}: images have shapes {sorted(shapes)}, expected one")
    return np.stack(stack)


def build_scan(scan: Scan, images: Images) -> tuple[Measure, LinearOperator]:
    """What measures an image, and the forward model that export starts from."""
    if scan.kind == "mri":
        maps = mri.normalise_maps(mri.birdcage_maps(scan.coils, images.shape))
        size = {"calibration": scan.calibration}
        draw = lambda key: mri.random_mask(key, images.shape, scan.acceleration, **size)  # noqa: E731
        full = mri.sense(maps, jnp.ones(images.shape, bool))
        return random_masks(maps, draw, scan.noise * images.peak), full
    angles = jnp.linspace(0, jnp.pi, scan.views, endpoint=False)
    n_bins = int(np.ceil(np.hypot(*images.shape))) + 2
    A = ct.parallel_beam(angles, images.shape, n_bins, pixel=scan.pixel)
    if scan.photons is not None:
        return Photons(A, scan.photons), A
    return Gaussian(A, scan.noise, relative=True), A


def build_network(config: Config) -> nnx.Module:
    """The network, with weights drawn from the seed.

    Raises:
        ValueError: an unknown name, or a network that does not suit the scan.
    """
    model, kind = config.model, config.scan.kind
    if model.name not in MODELS:
        raise ValueError(f"model.name is {model.name!r}, expected one of {', '.join(MODELS)}")
    return MODELS[model.name](model, kind, nnx.Rngs(config.training.seed))


def baseline(kind: str) -> Any:
    """What every network is compared with: filtered back-projection, or the matched adjoint."""
    return FilteredBackprojection("hann") if kind == "ct" else MatchedAdjoint()


def _inner(model: Model, kind: str) -> Callable[[nnx.Rngs], nnx.Module]:
    """The network within an iteration."""
    n, widths = (2 if kind == "mri" else 1), (model.width,) * (model.depth - 1)
    dtype = jnp.dtype(model.precision)
    return lambda rngs: ConvNet(n, n, widths=widths, residual=True, dtype=dtype, rngs=rngs)


def _unet(model: Model, kind: str, rngs: nnx.Rngs) -> nnx.Module:
    n, dtype = (2 if kind == "mri" else 1), jnp.dtype(model.precision)
    sizes = {"width": model.width, "depth": model.depth, "residual": True}
    return PostProcessing(baseline(kind), UNet(n, n, **sizes, dtype=dtype, rngs=rngs))


def _unrolled(algorithm: Any, learned: dict[str, float], model: Model, kind: str, rngs: nnx.Rngs):
    make, n_iter = _inner(model, kind), model.n_iter
    prior = make(rngs) if model.shared else stacked(make, n_iter, rngs=rngs)
    return Unrolled(algorithm, prior, n_iter=n_iter, shared=model.shared, inputs=learned)


def _equilibrium(model: Model, kind: str, rngs: nnx.Rngs) -> nnx.Module:
    net = Unrolled(ProximalGradient(0.5), _inner(model, kind)(rngs), n_iter=1)
    return Equilibrium(net, n_iter=50, tol=1e-3)


def _primal_dual(model: Model, kind: str, rngs: nnx.Rngs) -> nnx.Module:
    return learned_primal_dual(
        n_iter=model.n_iter,
        width=model.width,
        complex_values=kind == "mri",
        shared=model.shared,
        dtype=jnp.dtype(model.precision),
        rngs=rngs,
    )


MODELS: dict[str, Callable[[Model, str, nnx.Rngs], nnx.Module]] = {
    "unet": _unet,
    "pgd": lambda *given: _unrolled(ProximalGradient(1.0), {"step": 1.0}, *given),
    "admm": lambda *given: _unrolled(ADMM(), {"penalty": 0.1}, *given),
    "modl": lambda m, kind, rngs: modl(_inner(m, kind)(rngs), n_iter=m.n_iter),
    "primal-dual": _primal_dual,
    "equilibrium": _equilibrium,
}

LOSSES: dict[str, Any] = {
    "l1": losses.supervised(losses.l1),
    "l2": losses.supervised(losses.l2),
    "ssim-l1": losses.supervised(losses.ssim_l1),
    "ssdu": losses.SSDU(losses.UniformSplit(0.4)),
}


def names() -> dict[str, list[str]]:
    """What a configuration may name."""
    return {"model.name": list(MODELS), "training.loss": list(LOSSES)}
