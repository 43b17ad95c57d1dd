"""deepinv's unfolded proximal gradient descent on our problems, in a process of its own.

    python benchmarks/_rivals/unrolled.py                   what is installed here, as JSON
    python benchmarks/_rivals/unrolled.py PROGRAM FOLDER    serve, as `_serve.serve` says

A problem is a file of arrays: measurements `y` of a batch, images `truth`, the iterations `n_iter`,
kernels `w0`, ... (HWIO) and biases `b0`, ... of a network of convolutions with ReLU between them,
whose input is added to its output if `residual`. MRI has `maps` and `mask`; CT has `angles`, and
`norm`, by which its projector is divided. The methods:

- gradient: that of the mean squared error in the network, once, with its time and memory.
- infer: the images.
- train: steps of Adam with the rate `rate`; the answer is the first gradient.

A gradient is one vector: the first kernel as HWIO, its bias, the second kernel, ...; all answers
are the same for every program. This file imports neither JAX nor jaxrecon by itself.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _serve import Case, NotOffered, Solve, peak_bytes, serve

PACKAGES = ["deepinv", "torch", "astra-toolbox"]


# ------------------------------------------------------------------------------------------- memory


def growth(run: Callable[[], Any]) -> tuple[Any, int]:
    """What a call returns, and by how much this process's memory grew meanwhile, at most.

    Linux forgets the peak of a process at request; elsewhere the growth is that of the peak.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    result = run()
    return result, peak_bytes() - before


def first_then(first: Any, run: Callable[[], Any]) -> Solve:
    """A call that begins with an answer already known."""
    known = [first]
    return lambda: known.pop() if known else run()


# ---------------------------------------------------------------------------------------- the model


def gradient(options: dict, case: Case) -> tuple[Solve, dict]:
    """One gradient in the network."""
    model, layers, physics, y, truth = _posed(options, case)

    def run() -> np.ndarray:
        _loss(options, model(y, physics), truth).backward()
        return _flat([(layer.weight.grad, layer.bias.grad) for layer in layers])

    start = time.perf_counter()
    answer, grown = _growth(run)
    record = {"step_bytes": grown, "s": round(time.perf_counter() - start, 3)}
    return lambda: answer, record


def infer(options: dict, case: Case) -> tuple[Solve, dict]:
    """The images, complex ones as complex numbers."""
    import torch

    model, _, physics, y, _ = _posed(options, case)

    def run() -> np.ndarray:
        with torch.no_grad(), _precision(options):
            x = model(y, physics).float().cpu().numpy()
        return x[:, 0] + 1j * x[:, 1] if x.shape[1] == 2 else x[:, 0]

    answer, grown = _growth(run)
    return first_then(answer, run), {"step_bytes": grown}


def train(options: dict, case: Case) -> tuple[Solve, dict]:
    """Steps of Adam, forward and backward included."""
    import torch

    model, layers, physics, y, truth = _posed(options, case)
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    optimiser = torch.optim.Adam(parameters, lr=float(case["rate"]))

    def run() -> np.ndarray:
        optimiser.zero_grad()
        with _precision(options):
            loss = _loss(options, model(y, physics), truth)
        loss.backward()
        optimiser.step()
        return np.asarray(loss.item())

    _, grown = _growth(run)
    moments = [optimiser.state[p]["exp_avg"] / 0.1 for p in parameters]
    slope = _flat(list(zip(moments[::2], moments[1::2], strict=True)))
    return first_then(slope, run), {"step_bytes": grown}


def _posed(options: dict, case: Case) -> tuple[Any, list, Any, Any, Any]:
    """The unfolded model, its convolutions, the physics, measurements and truth."""
    import deepinv
    import torch

    torch.manual_seed(0)
    network, layers = _network(options, case)
    y, truth, physics = _physics(options, case)
    settings = {"unfold": True}
    if options.get("implicit"):
        config = deepinv.optim.DEQConfig(max_iter_backward=100)
        settings = {"DEQ": config, "early_stop": True, "thres_conv": 1e-4}
    model = deepinv.optim.PGD(
        data_fidelity=deepinv.optim.L2(),
        prior=deepinv.optim.PnP(network),
        stepsize=1.0,
        max_iter=int(case["n_iter"]),
        trainable_params=[],
        **settings,
    ).to(y.device)
    if options.get("checkpoint"):
        model.fixed_point.iterator = _checkpointed(model.fixed_point.iterator)
    return model, layers, physics, y, truth


def _network(options: dict, case: Case) -> tuple[Any, list]:
    """The network as deepinv calls a denoiser, and its convolutions."""
    import torch

    n_layers = sum(name.startswith("w") for name in case)
    layers = []
    for i in range(n_layers):
        kernel, bias = case[f"w{i}"], case[f"b{i}"]
        side, _, n_in, n_out = kernel.shape
        layer = torch.nn.Conv2d(n_in, n_out, side, padding=side // 2)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(kernel.transpose(3, 2, 0, 1)))
            layer.bias.copy_(torch.tensor(bias))
        layers.append(layer.to(_device()))
    inner = torch.nn.Sequential(*[m for layer in layers for m in (layer, torch.nn.ReLU())][:-1])
    layout = torch.channels_last if options.get("channels_last") else torch.contiguous_format
    inner = inner.to(memory_format=layout)

    class Denoiser(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.compile(inner) if options.get("compile") else inner

        def forward(self, x, sigma=None):
            h = self.inner(x.contiguous(memory_format=layout))
            return x + h if case["residual"] else h

    return Denoiser(), layers


def _checkpointed(iterator: Any):
    """An iteration of which the backward pass keeps the image alone, by torch's means."""
    import torch

    class Checkpointed(torch.nn.Module):
        has_cost, cost_fn = False, None

        def __init__(self):
            super().__init__()
            self.inner = iterator

        def forward(self, X, *arguments, **options):
            def advance(x):
                return self.inner({"est": (x, x)}, *arguments, **options)["est"][0]

            x = torch.utils.checkpoint.checkpoint(advance, X["est"][0], use_reentrant=False)
            return {"est": (x, x), "cost": None}

    return Checkpointed()


# -------------------------------------------------------------------------------------- the physics


def _physics(options: dict, case: Case) -> tuple[Any, Any, Any]:
    """Measurements and truth, tensors (batch, channel, ...), and the forward model."""
    if "maps" in case:
        return _mri(case)
    truth = _tensor(case["truth"])[:, None]
    if options.get("sparse"):
        return _tensor(case["y"]).flatten(1), truth, _sparse(case)
    return _tensor(case["y"]).transpose(1, 2).contiguous()[:, None], truth, _tomography(case)


def _mri(case: Case) -> tuple[Any, Any, Any]:
    import deepinv
    import torch

    parts = lambda z: torch.stack([_tensor(z.real), _tensor(z.imag)], 1)  # noqa: E731
    maps = torch.tensor(case["maps"], device=_device())
    mask = _tensor(np.broadcast_to(case["mask"], maps.shape[-2:]).astype(np.float32))
    physics = deepinv.physics.MultiCoilMRI(mask=mask, coil_maps=maps, device=_device())
    return parts(case["y"]), parts(case["truth"]), physics


def _tomography(case: Case):
    """The projector of deepinv, which turns the image; its angles turn y upwards."""
    import deepinv
    import torch

    angles = torch.tensor(-np.rad2deg(case["angles"]), dtype=torch.float32, device=_device())
    options = {"circle": False, "normalize": False, "device": _device()}
    turn = deepinv.physics.Tomography(angles=angles, img_width=case["truth"].shape[-1], **options)
    norm = float(case["norm"])
    return deepinv.physics.LinearPhysics(
        A=lambda x, **_: turn.A(x) / norm,
        A_adjoint=lambda y, **_: turn.A_adjoint(y) / norm,
        device=_device(),
    )


def _sparse(case: Case):
    """ASTRA's `linear` projector as a sparse matrix and its transpose."""
    import deepinv
    import torch

    height, width = case["truth"].shape[-2:]
    matrix = astra_matrix(case["angles"], (height, width), case["y"].shape[-1])
    matrix = (matrix / float(case["norm"])).astype(np.float32)
    forward, backward = _csr(matrix), _csr(matrix.T.tocsr())

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, left, right):
            ctx.transpose = right
            return (left @ x.T).T

        @staticmethod
        def backward(ctx, slope):
            return (ctx.transpose @ slope.T).T, None, None

    return deepinv.physics.LinearPhysics(
        A=lambda x, **_: Product.apply(x.flatten(1), forward, backward),
        A_adjoint=lambda y, **_: Product.apply(y, backward, forward).reshape(-1, 1, height, width),
        device=_device(),
    )


def astra_matrix(angles: np.ndarray, shape: tuple[int, int], n_bins: int) -> Any:
    """ASTRA's `linear` projector, rows by view and bin, with the axis where deepinv has it."""
    try:
        import astra
    except ImportError as error:
        raise NotOffered("astra-toolbox is not installed beside deepinv") from error
    shift = 0.5 * (n_bins % 2)
    height, width = (n / 2 for n in shape)
    limits = -width - shift, width - shift, -height + shift, height + shift
    volume = astra.create_vol_geom(*shape, *limits)
    scan = astra.create_proj_geom("parallel", 1.0, n_bins, -np.asarray(angles, np.float64))
    projector = astra.create_projector("linear", scan, volume)
    return astra.matrix.get(astra.projector.matrix(projector))


# -------------------------------------------------------------------------------------------- tools


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tensor(array: np.ndarray):
    import torch

    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32, device=_device())


def _csr(matrix: Any):
    import torch

    parts = [torch.tensor(p) for p in (matrix.indptr, matrix.indices, matrix.data)]
    return torch.sparse_csr_tensor(*parts, size=matrix.shape).to(_device())


def _precision(options: dict):
    """Activations in bfloat16 where asked for."""
    import torch

    half = bool(options.get("bfloat16"))
    return torch.autocast(_device(), dtype=torch.bfloat16, enabled=half)


def _loss(options: dict, x: Any, truth: Any):
    import torch

    with torch.autocast(_device(), enabled=False):
        return torch.nn.functional.mse_loss(x.float(), truth)


def _flat(pairs: list) -> np.ndarray:
    parts = []
    for kernel, bias in pairs:
        parts += [kernel.detach().permute(2, 3, 1, 0).flatten(), bias.detach().flatten()]
    return np.concatenate([part.float().cpu().numpy() for part in parts])


def _growth(run: Callable[[], Any]) -> tuple[Any, int]:
    """`growth` of the process, or on a GPU of what torch has allocated there."""
    import torch

    if _device() == "cpu":
        return growth(run)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    return result, torch.cuda.max_memory_allocated() - before


METHODS = {"gradient": gradient, "infer": infer, "train": train}
OPTIONS: dict[str, dict] = {
    "deepinv": {},
    "deepinv, channels last": {"channels_last": True},
    "deepinv, compiled": {"compile": True},
    "deepinv, checkpointed": {"checkpoint": True},
    "deepinv, equilibrium": {"implicit": True},
    "deepinv, bfloat16": {"bfloat16": True},
    "deepinv, sparse": {"sparse": True},
    "deepinv, sparse, checkpointed": {"sparse": True, "checkpoint": True},
    "deepinv, sparse, equilibrium": {"sparse": True, "implicit": True},
}
PROGRAMS = {
    program: {name: functools.partial(method, options) for name, method in METHODS.items()}
    for program, options in OPTIONS.items()
}


def installed() -> dict:
    """The programs that this interpreter can run, and versions."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    there = importlib.util.find_spec("deepinv") is not None
    device = _device() if there else None
    return {"programs": list(PROGRAMS) if there else [], "versions": versions, "device": device}


@functools.cache
def described(python: str) -> dict:
    """What another interpreter says it can run."""
    done = subprocess.run([python, __file__], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(PROGRAMS[sys.argv[1]], Path(sys.argv[2]))
    else:
        print(json.dumps(installed()))
