"""Is the Joseph projector exact, and how fast is it beside ASTRA's `linear` on the same machine?

    python benchmarks/projector.py [--quick]

Answers are checked first; then every time is the least of several short runs, and ASTRA runs
between them. One JSON record a line: times in milliseconds, `over_astra` how many times faster.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable

import _memory
import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.physics import ct

FULL, QUICK = (512, 720, 736), (128, 90, 184)
BATCH = 16
FAN = {"source_origin": 2.0, "origin_detector": 1.0}  # in widths of the image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small problem, few repetitions")
    quick = parser.parse_args().quick
    size, repeat = (QUICK, 3) if quick else (FULL, 7)
    print(json.dumps(versions() | {"size": size}))
    for name in ("parallel", "fan"):
        bench_geometry(name, size, repeat)


def bench_geometry(name: str, size: tuple[int, int, int], repeat: int) -> None:
    n, n_views, n_bins = size
    A = scan(name, n, n_views, n_bins)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((n, n)), jnp.float32)
    sinogram = A(image)
    rival = Astra(name, A, n, n_views, n_bins)
    report(name, "answers", **answers(A, image, sinogram, rival if name == "parallel" else None))

    budget = 4 * (image.nbytes + sinogram.nbytes)
    tasks = {
        "forward": (lambda A, x, y: A(x), rival.forward),
        "adjoint": (lambda A, x, y: A.H(y), rival.adjoint),
        "fbp": (lambda A, x, y: ct.fbp(A, y, scan="full"), None),
        "gradient_image": (jax.grad(loss, 1), None),
        "gradient_image_and_poses": (jax.grad(loss, (0, 1)), None),
    }
    baseline = None
    for task, (f, other) in tasks.items():
        record, ours = compile_and_time(f, (A, image, 0.9 * sinogram), repeat, other)
        baseline = baseline or ours
        record |= {"over_forward": round(ours / baseline, 2)}
        if task in ("forward", "adjoint"):
            record["within_memory_budget"] = record["temporary_bytes"] < budget
        report(name, task, **record)

    images = jnp.asarray(rng.random((BATCH, n, n)), jnp.float32)
    sinograms = jnp.broadcast_to(sinogram, (BATCH, *sinogram.shape))
    for task, f, batch in (
        ("forward_batch", lambda A, x: jax.vmap(A)(x), images),
        ("adjoint_batch", lambda A, y: jax.vmap(A.H)(y), sinograms),
    ):
        record, ours = compile_and_time(f, (A, batch), max(2, repeat // 3))
        per_image = ours / BATCH
        report(name, task, **record, ms_per_image=round(per_image, 2), batch=BATCH)
    report(name, "process", peak_bytes=_memory.peak_bytes())


def scan(name: str, n: int, n_views: int, n_bins: int):
    turn = np.pi if name == "parallel" else 2 * np.pi
    angles = np.linspace(0, turn, n_views, endpoint=False)
    if name == "parallel":
        return ct.parallel_beam(angles, (n, n), n_bins)
    return ct.fan_beam(angles, (n, n), n_bins, **{k: n * v for k, v in FAN.items()})


def loss(A, x, y):
    return 0.5 * jnp.sum((A(x) - y) ** 2)


class Astra:
    """The same scan in the ASTRA toolbox on the CPU: `linear`, or `line_fanflat` for the fan."""

    def __init__(self, name: str, A, n: int, n_views: int, n_bins: int):
        import astra

        self.astra = astra
        volume = astra.create_vol_geom(n, n)
        turn = np.pi if name == "parallel" else 2 * np.pi
        angles = -np.linspace(0, turn, n_views, endpoint=False)
        if name == "parallel":
            geometry = astra.create_proj_geom("parallel", 1.0, n_bins, angles)
        else:
            distances = [n * v for v in FAN.values()]
            pitch = float(np.linalg.norm(A.axis[0]))
            geometry = astra.create_proj_geom("fanflat", pitch, n_bins, angles, *distances)
        kind = "linear" if name == "parallel" else "line_fanflat"
        self.projector = astra.create_projector(kind, geometry, volume)

    def forward(self, _A, image, _sinogram) -> np.ndarray:
        """The sinogram of an image."""
        return self._run(self.astra.create_sino, image)

    def adjoint(self, _A, _image, sinogram) -> np.ndarray:
        """ASTRA's backprojection, the transpose of its own forward."""
        return self._run(self.astra.create_backprojection, sinogram)

    def _run(self, f: Callable, data) -> np.ndarray:
        identifier, result = f(np.asarray(data), self.projector)
        self.astra.data2d.delete(identifier)
        return result


def answers(A, image, sinogram, rival: Astra | None) -> dict:
    """Adjointness in float64, its failure for a scaled adjoint, and agreement with ASTRA."""
    x, y = (np.asarray(a, np.float64) for a in (image, sinogram))
    back = np.asarray(A.H(sinogram), np.float64)
    power = np.vdot(y, y)
    record = {
        "adjointness": abs(np.vdot(x, back) / power - 1),
        "adjointness_if_scaled_by_1.001": abs(1.001 * np.vdot(x, back) / power - 1),
    }
    assert record["adjointness"] < 1e-6 < record["adjointness_if_scaled_by_1.001"]
    if rival is not None:
        truth = rival.forward(A, image, sinogram)
        record["relative_to_astra"] = float(np.linalg.norm(y - truth) / np.linalg.norm(truth))
        assert record["relative_to_astra"] < 1e-4
    return record


def compile_and_time(
    f: Callable, arguments: tuple, repeat: int, rival: Callable | None = None
) -> tuple[dict, float]:
    """Compilation, temporaries and the least times, the rival's between ours."""
    start = time.perf_counter()
    compiled = jax.jit(f).lower(*arguments).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(compiled)
    jax.block_until_ready(compiled(*arguments))
    host = jax.tree.map(np.asarray, arguments[1:])
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(milliseconds(lambda: jax.block_until_ready(compiled(*arguments))))
        if rival is not None and len(theirs) < 3:
            theirs.append(milliseconds(lambda: rival(arguments[0], *host)))
    record["ms"] = round(min(ours), 2)
    if theirs:
        record |= {
            "astra_ms": round(min(theirs), 2),
            "over_astra": round(min(theirs) / min(ours), 2),
        }
    return record, min(ours)


def milliseconds(f: Callable) -> float:
    start = time.perf_counter()
    f()
    return 1000 * (time.perf_counter() - start)


def report(geometry: str, task: str, **record) -> None:
    print(json.dumps({"geometry": geometry, "task": task} | record), flush=True)


def versions() -> dict:
    import astra

    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "astra": astra.__version__,
        "python": platform.python_version(),
        "device": device.device_kind,
    }


if __name__ == "__main__":
    main()
