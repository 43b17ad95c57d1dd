"""How fast is plug-and-play (DPIR) beside deepinv with the same network and the same result?

    python benchmarks/plug_and_play.py --weights FILE [--install] [--rivals PYTHON ...] [--quick]

Deblurring of a 256² crop of scikit-image's cameraman (circular Gaussian blur of 1.6 pixels, noise
of 7/255), 8 iterations of half-quadratic splitting with DPIR's schedule of penalties. The denoiser
is a DnCNN from FILE, an `.npz` with kernels w00, w01, ... (height, width, in, out) and biases b00,
...; one that does not see sigma denoises with its own strength in every iteration, in all programs.

Each program runs in a process of its own, on the GPU where it finds one; answers are compared
first, then the programs take turns. See `solvers.py`, whose options these are. Ours runs as a while
loop ("jaxrecon") and written out ("jaxrecon unrolled").
"""

import argparse
import functools
import sys
import tempfile
from pathlib import Path

import _serve
import _solver_rivals
import jax
import jax.numpy as jnp
import numpy as np
import solvers
from solvers import Setting, bench, found, install, report, versions

from jaxrecon.core import Problem, identity, run
from jaxrecon.functionals import LeastSquares
from jaxrecon.functionals.denoisers import DenoiserPrior
from jaxrecon.nets.priors import read_dncnn
from jaxrecon.physics import optics
from jaxrecon.solvers.plug_and_play import dpir_schedule
from jaxrecon.solvers.splitting import HQS

NOISE = 7 / 255
ITERATIONS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="a DnCNN")
    parser.add_argument("--quick", action="store_true", help="a small problem, few repetitions")
    parser.add_argument("--install", action="store_true", help="install deepinv under .rivals/")
    parser.add_argument("--rivals", nargs="+", default=[], metavar="PYTHON", help="interpreters")
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve.serve(OURS[options.serve[0]], Path(options.serve[1]))
    if options.weights is None:
        parser.error("--weights is needed: the .npz file of a DnCNN")
    pythons = options.rivals + (install("torch") if options.install else [])
    report("versions", **versions(pythons))
    setting = Setting("pnp", lambda quick: photograph(quick, options.weights), tuple(OURS))
    served = {p: [sys.executable, __file__, "--serve", p] for p in OURS}
    rivals = {p: c for p, c in found(pythons).items() if "pnp" in _solver_rivals.PROGRAMS[p]}
    with tempfile.TemporaryDirectory() as folder:
        bench("dpir-deblur", setting, OURS, served | rivals, Path(folder), options.quick)
    return None


def photograph(quick: bool, weights: Path) -> dict:
    """The data, and where the weights are."""
    from skimage.data import camera

    n = 64 if quick else 256
    image = camera()[128 : 128 + n, 128 : 128 + n].astype(np.float32) / 255
    kernel = np.asarray(optics.gaussian_kernel((13, 13), 1.6))
    y = np.asarray(optics.blur(kernel, jnp.asarray(image))(image))
    noise = NOISE * np.random.default_rng(0).standard_normal(y.shape)
    case = {"y": (y + noise).astype(np.float32), "kernel": kernel, "shape": image.shape}
    return case | {"noise": NOISE, "weights": str(weights.resolve())}


def solve_dpir(options: dict, case: dict) -> tuple[_serve.Solve, dict]:
    """`plug_and_play.dpir`, with the driver's options."""
    A, y = solvers.operator(case), jnp.asarray(case["y"])
    schedule = dpir_schedule(float(case["noise"]), ITERATIONS)
    prior = DenoiserPrior(read_dncnn(str(case["weights"])), weight=schedule.weight)
    problem = Problem(((LeastSquares(y), A), (prior, identity(A.domain))))
    options = options | {"n_iter": ITERATIONS}

    def reconstruct(problem, penalty):
        x0 = problem.terms[0][1].H(problem.terms[0][0].data)
        return run(HQS(), problem, x0, inputs={"penalty": penalty}, **options).value

    return solvers.compiled(jax.jit(reconstruct), problem, schedule.penalty)


OURS = {
    "jaxrecon": {"pnp": functools.partial(solve_dpir, {})},
    "jaxrecon unrolled": {
        "pnp": functools.partial(
            solve_dpir, {"gradient": "unrolled", "unroll": "auto", "remat": False}
        )
    },
}

if __name__ == "__main__":
    main()
