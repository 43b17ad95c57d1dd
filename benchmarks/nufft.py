"""How accurate, fast and lean is the NUFFT beside the rivals that run on the same machine?

    python benchmarks/nufft.py [--install] [--quick] [SECTION ...]

Sections: accuracy, plane (256², 8 coils), volume (128³, 8 coils), toeplitz (beside BART), ct
(beside ASTRA), large (GPU: 256² x 32 coils and 256³ x 8 coils). Answers are checked first; then
every time is the least of several runs, and rivals run between ours. One JSON record a line, times
in milliseconds. `--install` first puts the rivals that come from PyPI into this environment; BART
is used where it is installed (Debian: bart). A rival that is absent is named as absent.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _memory
import jax
import jax.numpy as jnp
import numpy as np
from _rivals import Astra, Bart, Finufft, JaxFinufft, Nufftax, TorchKb, has

from jaxrecon import core, data
from jaxrecon.core import Problem, run
from jaxrecon.functionals import LeastSquares, SquaredL2
from jaxrecon.physics import ct, mri, nufft
from jaxrecon.solvers import ConjugateGradient

RIVALS = ["finufft", "jax-finufft", "nufftax", "torchkbnufft", "astra-toolbox"]
N_COILS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", default=["accuracy", "plane", "toeplitz", "ct"])
    parser.add_argument("--quick", action="store_true", help="small problems, few repetitions")
    parser.add_argument("--install", action="store_true", help="install the rivals with pip")
    options = parser.parse_args()
    if options.install:
        subprocess.run([sys.executable, "-m", "pip", "install", *RIVALS], check=True)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}; expected {', '.join(SECTIONS)}")
    print(json.dumps(versions()), flush=True)
    for name in options.sections:
        SECTIONS[name](options.quick)
        device_peak = _memory.device_peak_bytes(jax.devices()[0])
        report(name, "process", peak_bytes=_memory.peak_bytes(), device_peak_bytes=device_peak)


# ------------------------------------------------------------------------------------- the sections


def accuracy(quick: bool) -> None:
    """Errors over shapes, eps and dtypes, against an explicit sum in float64."""
    shapes = [(256,), (96, 81), (20, 17, 24)] if quick else [(256,), (256, 255), (33, 40, 36)]
    for dtype, choices in {"float32": (1e-2, 1e-4, 1e-6), "float64": (1e-3, 1e-8, 1e-13)}.items():
        with jax.enable_x64(dtype == "float64"):
            for shape in shapes:
                for eps in choices:
                    report("accuracy", "errors", **errors(shape, eps, dtype))


def errors(shape: tuple[int, ...], eps: float, dtype: str) -> dict:
    """Of values, adjoint and point gradient, and the adjointness, of the xla back end."""
    points, image, y = draws(shape, 200, dtype)
    A = nufft.nufft(points, shape, eps=eps, backend="xla")
    places = np.stack(np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij"), -1)
    places = places.reshape(-1, len(shape))
    E = np.exp(-2j * np.pi * np.asarray(points, np.float64) @ places.T) / np.sqrt(len(places))
    x = np.asarray(image, np.complex128).ravel()
    values = E @ x
    slopes = np.stack([E @ (-2j * np.pi * axis * x) for axis in places.T], 1)
    gradient = 2 * np.real(values.conj()[:, None] * slopes)
    ours = jax.grad(lambda A: jnp.sum(jnp.abs(A(image)) ** 2))(A).trajectory
    return {
        "shape": shape,
        "dtype": dtype,
        "eps": eps,
        "forward": relative(A(image), values),
        "adjoint": relative(A.H(y), E.conj().T @ np.asarray(y, np.complex128)),
        "point_gradient": relative(ours, gradient),
        "adjointness": float(core.adjointness(A, jax.random.key(0))),
    }


def plane(quick: bool) -> None:
    """256², 8 coils, 402 golden spokes of 512 samples."""
    n, n_spokes = (64, 50) if quick else (256, 402)
    spokes = mri.trajectories.radial(n_spokes, 2 * n, (n, n), order="golden")
    for eps in (1e-3, 1e-6):
        rivals = [Finufft, JaxFinufft, Nufftax, TorchKb]
        compare("plane", spokes.reshape(-1, 2), (n, n), N_COILS, eps, quick, rivals)


def volume(quick: bool) -> None:
    """128³, 8 coils, 500 000 random points, eps 1e-6."""
    n, n_points = (32, 10_000) if quick else (128, 500_000)
    points, _, _ = draws((n, n, n), n_points, "float32")
    compare("volume", points, (n, n, n), N_COILS, 1e-6, quick, [Finufft], gradient=False)


def large(quick: bool) -> None:
    """The sizes for an accelerator, with the floor that memory bandwidth sets."""
    sizes = [((64, 64), 4, 20_000)] if quick else []
    sizes = sizes or [((256, 256), 32, 402 * 512), ((256,) * 3, 8, 2_000_000)]
    for shape, n_coils, n_points in sizes:
        points, _, _ = draws(shape, n_points, "float32")
        rivals = [TorchKb] if len(shape) == 2 else []
        compare("large", points, shape, n_coils, 1e-3, quick, rivals)


def toeplitz(quick: bool) -> None:
    """The gram beside forward and adjoint, and CG iterations beside BART's on the same data."""
    n, n_spokes = (64, 32) if quick else (256, 128)
    spokes = mri.trajectories.radial(n_spokes, n, (n, n), order="golden")
    maps = mri.birdcage_maps(N_COILS, (n, n))
    image = phantom(n).astype(jnp.complex64)
    gram_records(maps, spokes, image, quick)
    cg_records(maps, spokes, mri.noncartesian_sense(maps, spokes, eps=1e-6)(image), quick)


def gram_records(maps, spokes, image, quick: bool) -> None:
    for backend in backends():
        A = mri.noncartesian_sense(maps, spokes, eps=1e-4, backend=backend)
        gram = jax.jit(lambda A: A.gram)(A)
        difference = relative(gram(image), A.H(A(image)))
        assert difference < 1e-3, difference
        tasks = {
            "gram": (lambda G, x: G(x), (gram, image)),
            "forward+adjoint": (lambda A, x: A.H(A(x)), (A, image)),
            "build the gram": (lambda A: A.gram, (A,)),
        }
        for task, record in timed({k: compiled(*v) for k, v in tasks.items()}, quick).items():
            report("toeplitz", task, backend=backend, relative_to_direct=difference, **record)


def cg_records(maps, spokes, y, quick: bool) -> None:
    """Milliseconds an iteration from two lengths of run, and whole reconstructions."""
    strength, lengths = 1e-3, (30, 90)
    A = mri.noncartesian_sense(maps, spokes, eps=1e-4)

    def reconstruct(n_iter):
        terms = ((LeastSquares(y), A), (SquaredL2(strength), core.identity(A.domain)))
        return jax.block_until_ready(run(ConjugateGradient(), Problem(terms), n_iter=n_iter).value)

    cold = least(lambda: reconstruct(lengths[0]), 1)
    reconstruct(lengths[1])
    ours = [least(lambda n=n: reconstruct(n), 3 if quick else 7) for n in lengths]
    slope = (ours[1] - ours[0]) / (lengths[1] - lengths[0])
    record = {"ms_an_iteration": round(slope, 2), "whole_30_ms": round(ours[0], 1)}
    report("toeplitz", "cg", backend=A.outer.backend, cold_30_ms=round(cold, 1), **record)
    if not Bart.present():
        return report("toeplitz", "cg", absent="bart")
    with tempfile.TemporaryDirectory() as folder:
        bart = Bart(Path(folder))
        # BART's dimensions: trajectory (axis, sample, spoke), data (1, sample, spoke, coil).
        points = np.concatenate([spokes, np.zeros_like(spokes[..., :1])], -1)
        bart.put("traj", points.transpose(2, 1, 0))
        bart.put("data", np.asarray(y).transpose(2, 1, 0)[None])
        bart.put("maps", np.asarray(maps).transpose(1, 2, 0)[:, :, None])
        pics = f"pics -S -l2 -r{strength} -t traj data maps image"
        theirs = [least(lambda n=n: bart(f"{pics[:4]} -i{n}{pics[4:]}"), 3) for n in lengths[::-1]][
            ::-1
        ]
        image = bart.get("image")
        version = bart("version").strip()
    their_slope = (theirs[1] - theirs[0]) / (lengths[1] - lengths[0])
    record = {"ms_an_iteration": round(their_slope, 2), "whole_30_ms": round(theirs[0], 1)}
    record |= {"over_ours": round(their_slope / slope, 2), "version": version}
    scaled = relative_after_scale(reconstruct(lengths[0]), image)
    return report("toeplitz", "cg, BART", ours_differs_by=scaled, **record)


def parallel_beam(quick: bool) -> None:
    """The Fourier-slice projector beside ASTRA `linear` and our Joseph; and its error."""
    n, n_views, n_bins = (128, 90, 184) if quick else (512, 720, 736)
    angles = np.linspace(0, np.pi, n_views, endpoint=False)
    image = phantom(n)
    rival = Astra(n, angles, n_bins) if has("astra") else None
    for name, A in ct_operators(angles, n, n_bins).items():
        y = A(image)
        back, power = np.asarray(A.H(y), np.float64), np.asarray(y, np.float64)
        adjointness = abs(np.vdot(image, back) / np.vdot(power, power) - 1)
        assert adjointness < 1e-6, adjointness
        slices = jnp.stack([image] * 8)
        tasks = {
            "forward": compiled(lambda A, x: A(x), (A, image)),
            "adjoint": compiled(lambda A, y: A.H(y), (A, y)),
            "forward of 8 slices": compiled(lambda A, x: jax.vmap(A)(x), (A, slices)),
        }
        if rival:
            tasks["ASTRA forward"] = (lambda: rival.forward(image), {})
            tasks["ASTRA adjoint"] = (lambda y=y: rival.adjoint(y), {})
        records = timed(tasks, quick)
        for task, record in records.items():
            other = records.get(f"ASTRA {task}")
            ratio = {"over_astra": round(other["ms"] / record["ms"], 2)} if other else {}
            report("ct", task, way=name, adjointness=adjointness, **record, **ratio)
    ct_errors()


def ct_operators(angles, n: int, n_bins: int) -> dict:
    ways = {"joseph": {}} | {
        f"fourier, {b}": {"method": "fourier", "backend": b} for b in backends()
    }
    return {
        name: ct.parallel_beam(angles, (n, n), n_bins, **options) for name, options in ways.items()
    }


def ct_errors() -> None:
    """On the modified Shepp-Logan head, against exact averages of line integrals over bins."""
    n, n_views, n_bins = 256, 180, 363
    angles = jnp.linspace(0, jnp.pi, n_views, endpoint=False)
    head = data.modified_shepp_logan(half_width=n / 2)
    truth = data.bin_averages(head, angles, jnp.arange(n_bins) - (n_bins - 1) / 2, 1.0)
    image = data.area_average(head, (n, n))
    ways = dict(ct_operators(angles, n, n_bins))
    if has("astra"):
        kinds = {f"ASTRA {k}": Astra(n, angles, n_bins, k).forward for k in ("linear", "strip")}
        ways |= kinds
    for name, f in ways.items():
        report("ct", "error against bin averages", way=name, relative=relative(f(image), truth))


# ------------------------------------------------------------------------------------- measurement


def compare(
    section: str,
    points,
    shape: tuple[int, ...],
    n_coils: int,
    eps: float,
    quick: bool,
    rivals: list,
    gradient: bool = True,
) -> None:
    """Forward, adjoint and trajectory gradient of our back ends and of the rivals, in turn."""
    _, images, y = draws(shape, len(points), "float32", (n_coils,))
    absent = [r.package for r in rivals if not has(r.package)]
    others = {r.package: r(points, shape, eps, n_coils) for r in rivals if r.package not in absent}
    ours = {}
    for backend in backends():
        A = nufft.nufft(points, shape, batch=(n_coils,), eps=eps, backend=backend)
        ours[f"jaxrecon {backend}"] = A
        report(section, "plan", **A.plan._asdict(), absent=absent)
    exact = explicit(points[:300], shape, images[0])
    forwards = {name: A(images) for name, A in ours.items()}
    forwards |= {name: r.forward(images) for name, r in others.items()}
    for name, values in forwards.items():
        report(section, "error", eps=eps, of=name, relative=relative(values[0, :300], exact))
    tasks = {
        "forward": (lambda A, x, y: A(x), lambda r: lambda: r.forward(images)),
        "adjoint": (lambda A, x, y: A.H(y), lambda r: lambda: r.adjoint(y)),
        "gradient": (trajectory_gradient, lambda r: lambda: r.gradient(images, y)),
    }
    for task, (f, theirs) in tasks.items():
        if task == "gradient" and not gradient:
            continue
        runs = {name: compiled(f, (A, images, y)) for name, A in ours.items()}
        runs |= {name: (theirs(r), {}) for name, r in others.items() if hasattr(r, task)}
        for name, record in timed(runs, quick).items():
            rate = int(len(points) * n_coils / record["ms"] * 1e3)
            report(section, task, eps=eps, of=name, **record, points_a_second=rate)


def trajectory_gradient(A, x, y):
    return jax.grad(lambda A: jnp.sum(jnp.abs(A(x) - y) ** 2))(A)


def compiled(f: Callable, arguments: tuple) -> tuple[Callable, dict]:
    """What runs a function of JAX arrays, and a record of its compilation."""
    start = time.perf_counter()
    program = jax.jit(f).lower(*arguments).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(program)
    return lambda: jax.block_until_ready(program(*arguments)), record


def timed(runs: dict[str, tuple[Callable, dict]], quick: bool) -> dict[str, dict]:
    """Every run's least time, the runs taking turns."""
    for f, _ in runs.values():
        f()
    times = {name: [] for name in runs}
    for _ in range(2 if quick else 7):
        for name, (f, _) in runs.items():
            times[name].append(least(f, 1))
    return {name: record | {"ms": round(min(times[name]), 2)} for name, (_, record) in runs.items()}


def least(f: Callable, repeat: int) -> float:
    """Milliseconds of the quickest of several calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def backends() -> list[str]:
    return ["xla"] + (["finufft"] if has("jax_finufft") and on_cpu() else [])


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def draws(shape: tuple[int, ...], n_points: int, dtype: str, batch: tuple[int, ...] = ()) -> tuple:
    """Random points over all of k-space, images and data."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (n_points, len(shape))) * shape
    complex_dtype = jnp.result_type(dtype, jnp.complex64)
    values = [
        rng.standard_normal((*batch, *s, 2), np.float32).view(np.complex64)[..., 0]
        for s in (shape, (n_points,))
    ]
    return jnp.asarray(points, dtype), *(jnp.asarray(v, complex_dtype) for v in values)


def explicit(points, shape: tuple[int, ...], image) -> np.ndarray:
    """The Fourier sum in float64, axis by axis."""
    values = np.asarray(image, np.complex128)
    for axis in reversed(range(len(shape))):
        n = shape[axis]
        turns = np.outer(np.asarray(points[:, axis], np.float64), np.arange(n) - n // 2) / n
        phases = np.exp(-2j * np.pi * turns)
        if axis == len(shape) - 1:
            values = np.moveaxis(values @ phases.T, -1, 0)
        else:
            values = np.einsum("j...n,jn->j...", values, phases)
    return values / np.sqrt(np.prod(shape))


def phantom(n: int):
    return data.rasterise(data.modified_shepp_logan(half_width=n / 2), (n, n))


def relative(got, expected) -> float:
    got, expected = (np.asarray(a, np.complex128).ravel() for a in (got, expected))
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def relative_after_scale(got, expected) -> float:
    got, expected = (np.asarray(a, np.complex128).ravel() for a in (got, expected))
    return relative(np.vdot(got, expected) / np.vdot(got, got) * got, expected)


def report(section: str, task: str, **record) -> None:
    print(json.dumps({"section": section, "task": task} | record), flush=True)


def versions() -> dict:
    from importlib import metadata

    installed = {d.name.lower() for d in metadata.distributions()}
    found = {name: metadata.version(name) for name in ["jax", *RIVALS] if name in installed}
    return found | {"python": platform.python_version(), "device": jax.devices()[0].device_kind}


SECTIONS = {
    "accuracy": accuracy,
    "plane": plane,
    "volume": volume,
    "toeplitz": toeplitz,
    "ct": parallel_beam,
    "large": large,
}

if __name__ == "__main__":
    main()
