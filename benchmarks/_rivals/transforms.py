"""Other people's programs on our arrays, each behind the same few methods.

A non-uniform transform has `forward(images)`, `adjoint(data)` and, where it can, `gradient(images,
data)`: the derivative of ‖A x − y‖² in the trajectory. Points are in cycles per field of view, axes
in the image's order; images and data have a leading coil axis.
"""

import importlib.util
import math
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _radians(points, shape) -> np.ndarray:
    return np.asarray(points) * (2 * np.pi / np.asarray(shape, np.float32))


class Finufft:
    """FINUFFT's own Python package, with plans that are made once (points sorted beforehand)."""

    package = "finufft"

    def __init__(self, points, shape, eps: float, n_coils: int):
        import finufft

        self.scale = 1 / math.sqrt(math.prod(shape))
        axes = [np.ascontiguousarray(a, np.float32) for a in _radians(points, shape).T]
        self.plans = []
        for kind, sign in ((2, -1), (1, 1)):
            plan = finufft.Plan(kind, shape, n_coils, eps, sign, dtype="complex64")
            plan.setpts(*axes)
            self.plans.append(plan)

    def forward(self, images) -> np.ndarray:
        return self.plans[0].execute(np.asarray(images)) * self.scale

    def adjoint(self, data) -> np.ndarray:
        return self.plans[1].execute(np.asarray(data)) * self.scale


class _Compiled:
    """A transform written in JAX, with JAX's gradient."""

    def __init__(self, points, shape, eps: float, n_coils: int):
        del n_coils
        axes = jnp.asarray(_radians(points, shape).T)
        scale = 1 / math.sqrt(math.prod(shape))
        self._forward = jax.jit(lambda k, x: self.type2(k, x, eps) * scale)
        self._adjoint = jax.jit(lambda k, y: self.type1(k, y, shape, eps) * scale)
        loss = lambda k, x, y: jnp.sum(jnp.abs(self.type2(k, x, eps) * scale - y) ** 2)  # noqa: E731
        self._gradient = jax.jit(jax.grad(loss))
        self.axes = axes

    def forward(self, images) -> jax.Array:
        return jax.block_until_ready(self._forward(self.axes, images))

    def adjoint(self, data) -> jax.Array:
        return jax.block_until_ready(self._adjoint(self.axes, data))

    def gradient(self, images, data) -> jax.Array:
        return jax.block_until_ready(self._gradient(self.axes, images, data))


class JaxFinufft(_Compiled):
    """jax-finufft as its users call it, with its own derivative."""

    package = "jax_finufft"

    @staticmethod
    def type2(k, x, eps):
        from jax_finufft import nufft2

        return nufft2(x, *k, eps=eps, iflag=-1)

    @staticmethod
    def type1(k, y, shape, eps):
        from jax_finufft import nufft1

        return nufft1(shape, y, *k, eps=eps, iflag=1)


class Nufftax(_Compiled):
    """nufftax, in pure JAX; its first axis is the image's last."""

    package = "nufftax"

    @staticmethod
    def type2(k, x, eps):
        import nufftax

        f = {1: nufftax.nufft1d2, 2: nufftax.nufft2d2, 3: nufftax.nufft3d2}[len(k)]
        return f(*k[::-1], x, eps=eps, isign=-1)

    @staticmethod
    def type1(k, y, shape, eps):
        import nufftax

        f = {1: nufftax.nufft1d1, 2: nufftax.nufft2d1, 3: nufftax.nufft3d1}[len(k)]
        return f(*k[::-1], y, n_modes=shape[::-1], eps=eps, isign=1)


class TorchKb:
    """torchkbnufft with its defaults (its error is of the order of 1e-3), on the same device."""

    package = "torchkbnufft"

    def __init__(self, points, shape, eps: float, n_coils: int):
        import torch
        import torchkbnufft

        del eps, n_coils
        self.torch, self.shape = torch, shape
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.points = torch.tensor(_radians(points, shape).T.copy(), device=self.device)
        self.type2 = torchkbnufft.KbNufft(im_size=shape).to(self.points)
        self.type1 = torchkbnufft.KbNufftAdjoint(im_size=shape).to(self.points)

    def forward(self, images) -> np.ndarray:
        return self._run(self.type2, images)

    def adjoint(self, data) -> np.ndarray:
        return self._run(self.type1, data)

    def _run(self, f, values) -> np.ndarray:
        values = self.torch.tensor(np.array(values)[None], device=self.device)
        result = f(values, self.points, norm="ortho")[0]
        return result.cpu().numpy() * math.sqrt(2) ** len(self.shape)


class Astra:
    """ASTRA's parallel beam on the CPU, `linear` or `strip`."""

    def __init__(self, n: int, angles, n_bins: int, kind: str = "linear"):
        import astra

        self.astra = astra
        volume = astra.create_vol_geom(n, n)
        geometry = astra.create_proj_geom("parallel", 1.0, n_bins, -np.asarray(angles))
        self.projector = astra.create_projector(kind, geometry, volume)

    def forward(self, image) -> np.ndarray:
        return self._run(self.astra.create_sino, image)

    def adjoint(self, sinogram) -> np.ndarray:
        return self._run(self.astra.create_backprojection, sinogram)

    def _run(self, f, values) -> np.ndarray:
        identifier, result = f(np.asarray(values), self.projector)
        self.astra.data2d.delete(identifier)
        return result


class Bart:
    """BART's command line, on files in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    @staticmethod
    def present() -> bool:
        return shutil.which("bart") is not None

    def __call__(self, command: str) -> str:
        done = subprocess.run(
            ["bart", *command.split()], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    def put(self, name: str, array: np.ndarray) -> None:
        """An array as `name.cfl`, its axes BART's first dimensions."""
        header = "# Dimensions\n" + " ".join(map(str, array.shape)) + "\n"
        (self.folder / f"{name}.hdr").write_text(header)
        np.asarray(array, np.complex64).ravel(order="F").tofile(self.folder / f"{name}.cfl")

    def get(self, name: str) -> np.ndarray:
        dimensions = (self.folder / f"{name}.hdr").read_text().splitlines()[1].split()
        values = np.fromfile(self.folder / f"{name}.cfl", np.complex64)
        return values.reshape([int(n) for n in dimensions], order="F").squeeze()
