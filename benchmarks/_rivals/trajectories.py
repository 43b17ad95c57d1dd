"""One step of a trajectory's design in torch: the error of CG-SENSE and its gradient in k.

    python benchmarks/_rivals/trajectories.py                   what is installed here, as JSON
    python benchmarks/_rivals/trajectories.py PROGRAM FOLDER    serve, as `_serve.serve` says

A problem is a file of arrays (see `benchmarks/design/cost/_steps.py`): `pattern` in cycles per
field of view, `maps`, `truth`, `noise`, CG's `weight`, `n_iter` and `tol`, `eps` of FINUFFT, on
which all programs run. The loss is ‖x̂ − x‖²/‖x‖² with (AᴴA + λ) x̂ = Aᴴ(A x + n).

- MIRTorch: its `NuSense`, and its `CG` with backward_mode="unrolled", which it asks for where the
  operator's parameters have a gradient. All n_iter iterations.
- MIRTorch, implicit: what it does not offer in one call, but an expert writes with its parts: `CG`
  on its Toeplitz gram of a fixed trajectory, which may stop at `tol`; then the derivative of the
  solution, x̂ + G⁻¹(b(k) − G(k) x̂) with G⁻¹ its `CG` with backward_mode="implicit".
- mri-nufft: its autograd operator in textbook conjugate gradients, all n_iter, for it has none that
  can be differentiated. Maps are multiplied outside, and all coils go in one plan.

The answer is the loss, then the gradient. This file imports neither JAX nor jaxrecon.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _serve import Case, Solve, serve
from unrolled import first_then, growth

PACKAGES = ["torch", "MIRTorch", "mri-nufft", "finufft"]


def step(solution: Callable, case: Case) -> tuple[Solve, dict]:
    """The loss and its gradient, again and again."""
    import torch

    arrays = {name: torch.tensor(case[name]) for name in ("maps", "truth", "noise")}
    scale = 2 * math.pi / torch.tensor(case["truth"].shape, dtype=torch.float32)
    k = torch.tensor(case["pattern"], dtype=torch.float32)

    def run() -> np.ndarray:
        radians = (k * scale).reshape(-1, k.shape[-1]).requires_grad_()
        found = solution(case, arrays, radians)
        loss = ((found - arrays["truth"]).abs() ** 2).sum() / (arrays["truth"].abs() ** 2).sum()
        loss.backward()
        slope = (radians.grad * scale).numpy()
        return np.concatenate([[loss.item()], slope.ravel()]).astype(np.float64)

    answer, grown = growth(run)
    return first_then(answer, run), {"step_bytes": grown}


# ----------------------------------------------------------------------------------------- MIRTorch


def mirtorch_unrolled(case: Case, arrays: dict, radians: Any) -> Any:
    """Backpropagation through every iteration."""
    from mirtorch.alg import CG

    A, damped = _nusense(case, arrays, radians)
    options = {"max_iter": int(case["n_iter"]), "tol": 0.0, "backward_mode": "unrolled"}
    rhs = A.H * _measured(A, arrays)
    return CG(damped, **options).run(rhs * 0, rhs)


def mirtorch_implicit(case: Case, arrays: dict, radians: Any) -> Any:
    """The solution without a graph, and its derivative by one more solve."""
    import torch
    from mirtorch.alg import CG

    A, damped = _nusense(case, arrays, radians)
    rhs = A.H * _measured(A, arrays)
    with torch.no_grad():
        _, fixed = _nusense(case, arrays, radians.detach())
        limits = {"max_iter": int(case["n_iter"]), "rtol": float(case["tol"])}
        found = CG(fixed, **limits).run(rhs * 0, rhs)
    # Within the absolute threshold: solved by zero, and only its derivative takes iterations.
    residual = rhs - damped * found
    return found + CG(fixed, atol=1e9, **limits).run(found * 0, residual)


def _nusense(case: Case, arrays: dict, radians: Any) -> tuple[Any, Any]:
    """A, and AᴴA + λ: by a Toeplitz embedding where the trajectory has no gradient."""
    from mirtorch.linear import Identity, NuSense, NuSenseGram

    maps = arrays["maps"] / math.sqrt(math.prod(case["truth"].shape))
    options = {"norm": None, "batchmode": False, "backend": "finufft", "eps": float(case["eps"])}
    A = NuSense(maps, radians.T, **options)
    gram = NuSenseGram(maps, radians.T, **options)
    return A, gram + float(case["weight"]) * Identity(gram.size_in)


def _measured(A: Any, arrays: dict) -> Any:
    return A * arrays["truth"] + arrays["noise"].flatten(1)


# ---------------------------------------------------------------------------------------- mri-nufft


def mri_nufft(case: Case, arrays: dict, radians: Any) -> Any:
    """Backpropagation through conjugate gradients with its operators."""
    op, scale = _operators(case, radians.detach().numpy())
    op.update_samples(radians, unsafe=False)
    maps = arrays["maps"][None]
    forward = lambda x: scale * op.op(maps * x)  # noqa: E731
    adjoint = lambda y: scale * (maps.conj() * op.adj_op(y)).sum((0, 1))  # noqa: E731
    weight = float(case["weight"])
    rhs = adjoint(forward(arrays["truth"]) + arrays["noise"].flatten(1)[None])
    system = lambda x: adjoint(forward(x)) + weight * x  # noqa: E731
    return _conjugate_gradients(system, rhs, int(case["n_iter"]))


_KEPT: dict[str, Any] = {}


def _operators(case: Case, radians: np.ndarray) -> tuple[Any, float]:
    """Its operator, made once; and what takes its norm to that of an orthonormal transform."""
    import mrinufft

    shape = case["truth"].shape
    if not _KEPT:
        n = len(case["maps"])
        options = {"n_coils": n, "n_trans": n, "squeeze_dims": False, "eps": float(case["eps"])}
        plain = mrinufft.get_operator("finufft")(radians, shape, **options)
        _KEPT["operator"] = plain.make_autograd(wrt_data=True, wrt_traj=True)
        _KEPT["scale"] = float(plain.norm_factor) / math.sqrt(math.prod(shape))
    return _KEPT["operator"], _KEPT["scale"]


def _conjugate_gradients(system: Callable, rhs: Any, n_iter: int) -> Any:
    dot = lambda a, b: (a.conj() * b).sum().real  # noqa: E731
    x, r, p = rhs * 0, rhs, rhs
    rr = dot(r, r)
    for _ in range(n_iter):
        q = system(p)
        length = rr / dot(p, q)
        x, r = x + length * p, r - length * q
        rr, before = dot(r, r), rr
        p = r + rr / before * p
    return x


PROGRAMS = {
    "MIRTorch": ("mirtorch", mirtorch_unrolled),
    "MIRTorch, implicit": ("mirtorch", mirtorch_implicit),
    "mri-nufft": ("mrinufft", mri_nufft),
}


def installed() -> dict:
    """The programs that this interpreter can run, and versions."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    there = [p for p, (package, _) in PROGRAMS.items() if importlib.util.find_spec(package)]
    return {"programs": there, "versions": versions}


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of torch, by its users
    if len(sys.argv) == 3:
        method = functools.partial(step, PROGRAMS[sys.argv[1]][1])
        serve({"step": method}, Path(sys.argv[2]))
    else:
        print(json.dumps(installed()))
