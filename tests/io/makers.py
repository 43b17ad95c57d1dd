"""Tiny files of every format that `read` takes, each written by the library of the format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

N_VIEWS, N_SLICES, N_BINS = 9, 3, 16
N_COILS, N_Y, N_X = 2, 8, 6
RSS = (6, 4)
XML = (
    '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>'
    "<matrixSize><x>8</x><y>6</y><z>1</z></matrixSize></encodedSpace><reconSpace><matrixSize>"
    "<x>6</x><y>4</y><z>1</z></matrixSize></reconSpace></encoding></ismrmrdHeader>"
)


def attenuation(n_slices: int = N_SLICES) -> np.ndarray:
    """Line integrals (slice, view, bin), different everywhere, with air at the edges."""
    bins = np.linspace(-1.3, 1.3, N_BINS)
    chord = np.sqrt(np.clip(1 - bins**2, 0, None))
    scale = 1 + 0.1 * np.arange(n_slices)[:, None] + 0.03 * np.arange(N_VIEWS)[None]
    return chord * scale[..., None]


def degrees() -> np.ndarray:
    return np.linspace(0, 180, N_VIEWS, endpoint=False)


def counts() -> dict[str, np.ndarray]:
    """Projections (view, slice, bin) and frames; their line integrals are `attenuation`."""
    dark = 100 + 0.5 * np.arange(N_SLICES * N_BINS).reshape(N_SLICES, N_BINS)
    beam = 20000 + 50.0 * np.arange(N_BINS)
    data = dark + beam * np.exp(-attenuation().transpose(1, 0, 2))
    flicker = np.array([-3.0, 0.0, 3.0])[:, None, None]
    return {"data": data, "dark": dark + flicker, "flat": dark + beam + 2 * flicker}


def kspace(n_slices: int = N_SLICES) -> np.ndarray:
    """(slice, coil, y, x), without zeros."""
    rng = np.random.default_rng(7)
    shape = (n_slices, N_COILS, N_Y, N_X)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def mask() -> np.ndarray:
    return np.random.default_rng(8).random((N_Y, N_X)) < 0.6


def tooth(folder: Path, **changes: Any) -> Path:
    c = counts()
    arrays = {"proj": c["data"], "dark": c["dark"], "flat": c["flat"], "theta_deg": degrees()}
    return save(folder / "tooth.npz", arrays | {"cor": np.float64(7.5)} | changes)


def neutron(folder: Path, **changes: Any) -> Path:
    data = np.rint(47000 * np.exp(-attenuation(1)[0])).astype(np.uint16)
    arrays = {"sino_transmission": data, "theta_deg": degrees(), "cor": np.float64(7.0)}
    return save(folder / "neutron.npz", arrays | changes)


def monitored(folder: Path, **changes: Any) -> Path:
    monitor = 1e5 * (1 + 0.1 * np.sin(np.arange(N_VIEWS * N_SLICES * N_BINS)))
    monitor = monitor.reshape(N_VIEWS, N_SLICES, N_BINS)
    data = 4.6e-5 * monitor * np.exp(-attenuation().transpose(1, 0, 2))
    return save(
        folder / "i18.npz",
        {"transmitted": data, "monitor": monitor, "theta_deg": degrees()} | changes,
    )


def fan(folder: Path, **changes: Any) -> Path:
    arrays = {"sino": attenuation(1)[0].astype(np.float32), "angles_deg": degrees()}
    lengths = {"sod_mm": 410.66, "sdd_mm": 553.74, "det_pixel_mm": 0.2}
    return save(folder / "fan.npz", arrays | lengths | changes)


def cartesian(folder: Path, **changes: Any) -> Path:
    arrays = {"ksp": kspace(1)[0] * mask(), "mask": mask()}
    return save(folder / "cartesian.npz", arrays | changes)


def full(folder: Path, **changes: Any) -> Path:
    arrays = {"ksp": kspace(1)[0], "orig_matrix": np.array([8, 8])}
    return save(folder / "full.npz", arrays | changes)


N = 16


def spiral_trajectory() -> np.ndarray:
    """(kx, ky) in cycles per pixel, (shot, sample, 2): arms a cycle per field of view apart."""
    t = np.linspace(0, 1, 200)[None]
    angle = 2 * np.pi * (2 * t + np.arange(4)[:, None] / 4)
    return (0.49 * t * np.stack([np.cos(angle), np.sin(angle)])).transpose(1, 2, 0)


def coil_sensitivities() -> np.ndarray:
    """Smooth and complex, unit norm in every pixel, (coil, y, x)."""
    y, x = (np.indices((N, N)) - N // 2) / N
    maps = np.stack([np.exp(x + 0.5j * y), np.exp(-y + 1j * x), np.exp(-x + y - 0.7j * y)])
    return maps / np.linalg.norm(maps, axis=0)


def spiral_object() -> np.ndarray:
    """Smooth, different on every side, (y, x)."""
    y, x = np.indices((N, N)) - N // 2
    return np.exp(-((x - 2) ** 2 / 9 + (y + 1) ** 2 / 5)) * (1 + 0.5j)


def spiral(folder: Path, **changes: Any) -> Path:
    """Samples by the sum itself, of `spiral_object` seen through `coil_sensitivities`."""
    coord = changes.get("coord", spiral_trajectory())
    y, x = np.indices((N, N)) - N // 2
    k = spiral_trajectory()[..., None, None]
    waves = np.exp(-2j * np.pi * (k[:, :, 0] * x + k[:, :, 1] * y)) / N
    images = coil_sensitivities() * spiral_object()
    data = np.einsum("stji,cji->cst", waves, images).astype(np.complex64)
    return save(folder / "spiral.npz", {"data": data, "coord": coord, "N": N} | changes)


def save(path: Path, arrays: dict[str, Any]) -> Path:
    """An npz of the arrays that are not None."""
    kept = {name: value for name, value in arrays.items() if value is not None}
    np.savez_compressed(path, **kept)  # type: ignore[arg-type]
    return path


def dxchange(folder: Path, **changes: Any) -> Path:
    """`changes` replaces datasets of /exchange, None leaves one out; `units` is that of theta."""
    c = counts()
    units = changes.pop("units", "degrees")
    arrays = {
        "data": c["data"],
        "data_dark": c["dark"],
        "data_white": c["flat"],
        "theta": degrees(),
    }
    path = folder / "dxchange.h5"
    with h5py.File(path, "w") as file:
        for name, value in (arrays | changes).items():
            if value is not None:
                file[f"exchange/{name}"] = value
        if units and "exchange/theta" in file:
            file["exchange/theta"].attrs["units"] = units
    return path


def fastmri(folder: Path, **changes: Any) -> Path:
    columns = np.array([1, 0, 1, 1, 0, 1], np.float32)
    arrays = {
        "kspace": kspace() * columns.astype(np.complex64),
        "mask": columns,
        "ismrmrd_header": XML.encode(),
    }
    path = folder / "fastmri.h5"
    with h5py.File(path, "w") as file:
        for name, value in (arrays | changes).items():
            if value is not None:
                file[name] = value
    return path


def singlecoil(folder: Path, **changes: Any) -> Path:
    images = {"reconstruction_esc": np.ones((N_SLICES, *RSS), np.float32), "mask": None}
    return fastmri(
        folder, **({"kspace": kspace()[:, 0], "ismrmrd_header": None} | images | changes)
    )


def bart(folder: Path, data: np.ndarray | None = None, name: str = "bart") -> Path:
    """k-space with BART's dimensions, written as BART's Python does."""
    values = kspace(1)[0].transpose(1, 2, 0)[:, :, None, :] if data is None else data
    path = folder / name
    sizes = values.shape + (1,) * (16 - values.ndim)
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
    values.astype(np.complex64).T.tofile(path.with_suffix(".cfl"))
    return path.with_suffix(".cfl")


MAKERS: dict[str, Callable[[Path], Path]] = {
    "tooth": tooth,
    "neutron": neutron,
    "monitored": monitored,
    "fan": fan,
    "cartesian": cartesian,
    "full": full,
    "dxchange": dxchange,
    "fastmri": fastmri,
    "singlecoil": singlecoil,
    "bart": bart,
    "spiral": spiral,
}
