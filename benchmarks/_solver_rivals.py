"""Other people's solvers on our problems, each in a process and, where need be, an environment of
its own: SCICO asks for one certain version of JAX.

    python benchmarks/_solver_rivals.py                   what is installed here, as JSON
    python benchmarks/_solver_rivals.py PROGRAM FOLDER    serve: a command a line, a reply a line

A problem is a file of arrays in the folder (see `solvers.py`): data `y`; a scan by `angles`, or a
blur by `kernel`; the strength `weight` and the iterations `n_iter`. A scan turns about the centre
of pixel n/2, as deepinv's does for a size whose √2-fold is rounded up to an odd number, and there
are as many bins. Methods, started at zero:

- tv: primal-dual hybrid gradient for ½ ‖A x − y‖² + w ‖D x‖₂₁ with the steps `tau`, `sigmas` (one
  for A and one for D). A program that knows a single σ is given √σᵢ Aᵢ with σ = 1, which is the
  same iteration.
- wavelet: FISTA for ½ ‖A x − y‖² + w ‖V x‖₁ with the step `step`, where V are the details of an
  orthonormal wavelet transform.
- pnp: DPIR with DnCNN, the weights in the file `weights`, the noise in `noise`.

This file imports neither JAX nor jaxrecon by itself, so that every interpreter can run it.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _serve import Case, NotOffered, Solve, serve

PACKAGES = ["deepinv", "torch", "ptwt", "scico", "odl", "astra-toolbox", "jax", "pywavelets"]


# ------------------------------------------------------------------------------------------ deepinv


def deepinv_tv(case: Case) -> Solve:
    """Its Chambolle-Pock iteration on K = (A, D), with its own A, D and proximal maps."""
    import deepinv
    from deepinv.utils import TensorList

    physics, y = _deepinv_physics(case)
    total_variation, groups = deepinv.optim.TVPrior(), deepinv.optim.L12Prior(l2_axis=-1)
    a, d = np.sqrt(case["sigmas"]).tolist()
    tau, weight, n_iter = float(case["tau"]), float(case["weight"]), int(case["n_iter"])

    class Both(deepinv.optim.DataFidelity):
        """½ ‖·/a − y‖² + (w/d) ‖·‖₂₁ of the two parts."""

        def prox_conjugate(self, x, *args, gamma=1.0, **kwargs):
            data = (x[0] - gamma * a * y) / (1 + gamma * a**2)
            return TensorList([data, groups.prox_conjugate(x[1], gamma=gamma, lamb=weight / d)])

    def start(y, physics):
        x = y.new_zeros(1, 1, *case["shape"])
        duals = TensorList([y.new_zeros(y.shape), y.new_zeros(*x.shape, 2)])
        return {"est": (x, x, duals)}

    model = deepinv.optim.PDCP(
        K=lambda x: TensorList([a * physics.A(x), d * total_variation.nabla(x)]),
        K_adjoint=lambda u: a * physics.A_adjoint(u[0]) + d * total_variation.nabla_adjoint(u[1]),
        data_fidelity=Both(),
        stepsize=tau,
        stepsize_dual=1.0,
        max_iter=n_iter,
        custom_init=start,
    )
    return _torch_solve(model, y, physics)


def deepinv_wavelet(case: Case) -> Solve:
    """Its FISTA, whose momentum is (k + 2)/(k + 3), with its periodic wavelet prior.

    The prior thresholds at a tenth of its strength unless told otherwise, which FISTA does not.
    """
    import deepinv

    physics, y = _deepinv_physics(case)
    zero = y.new_zeros(1, 1, *case["shape"])
    model = deepinv.optim.FISTA(
        data_fidelity=deepinv.optim.L2(),
        prior=deepinv.optim.WaveletPrior(
            level=int(case["levels"]), wv=str(case["wavelet"]), mode="periodic"
        ),
        lambda_reg=10 * float(case["weight"]),
        stepsize=float(case["step"]),
        max_iter=int(case["n_iter"]),
        custom_init=lambda y, physics: (zero, zero),
    )
    return _torch_solve(model, y, physics)


def deepinv_pnp(case: Case) -> Solve:
    """Its DPIR with its DnCNN."""
    import deepinv

    physics, y = _deepinv_physics(case)
    network = deepinv_dncnn(case["weights"]).to(y.device)
    model = deepinv.optim.DPIR(sigma=float(case["noise"]), denoiser=network, device=y.device)
    return _torch_solve(model, y, physics)


def deepinv_dncnn(path: Any):
    """The network of an `.npz` file with kernels w00, ... (HWIO) and biases b00, ....

    deepinv adds what its network gives to the image; these weights predict the noise.
    """
    import deepinv
    import torch

    with np.load(str(path)) as file:
        names = sorted(n for n in file.files if n.startswith("w"))
        kernels = [file[n].transpose(3, 2, 0, 1) for n in names]
        biases = [file["b" + n[1:]] for n in names]
    kernels[-1], biases[-1] = -kernels[-1], -biases[-1]
    channels, depth = len(biases[0]), len(kernels)
    if kernels[0].shape[1] != 1:
        raise NotOffered("deepinv's DnCNN does not see sigma, these weights do")
    network = deepinv.models.DnCNN(1, 1, depth=depth, nf=channels, pretrained=None)
    convolutions = [network.in_conv, *network.conv_list, network.out_conv]
    with torch.no_grad():
        for layer, kernel, bias in zip(convolutions, kernels, biases, strict=True):
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            layer.bias.copy_(torch.from_numpy(bias))
    return network.eval()


def one_thread(method: Callable[[Case], Solve]) -> Callable[[Case], Solve]:
    """A method of deepinv on one thread: on small arrays threads may cost more than they bring."""

    def prepare(case: Case) -> Solve:
        import torch

        torch.set_num_threads(1)
        return method(case)

    return prepare


def _deepinv_physics(case: Case):
    """A and y, tensors (1, 1, ...), on the GPU if there is one; deepinv's angles turn y upwards."""
    import deepinv
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    height, width = (int(n) for n in case["shape"])
    y = torch.tensor(case["y"], device=device)
    if "angles" in case:
        angles = torch.tensor(-np.rad2deg(case["angles"]), dtype=torch.float32, device=device)
        options = {"circle": False, "normalize": False, "device": device}
        physics = deepinv.physics.Tomography(angles=angles, img_width=width, **options)
        return physics, y.T.contiguous()[None, None]
    kernel = torch.tensor(case["kernel"], device=device)[None, None]
    size = (1, height, width)
    return deepinv.physics.BlurFFT(img_size=size, filter=kernel, device=device), y[None, None]


def _torch_solve(model: Any, y: Any, physics: Any) -> Solve:
    import torch

    # Else it evaluates the objective in every iteration, with one more forward model.
    model.fixed_point.iterator.cost_fn = None

    def solve() -> np.ndarray:
        with torch.no_grad():
            return model(y, physics)[0, 0].cpu().numpy()

    return solve


# -------------------------------------------------------------------------------------------- SCICO


def scico_tv(case: Case) -> Solve:
    """Its PDHG; the first step from zero does nothing, so it takes one more."""
    import scico.numpy as snp
    from scico import functional, linop, loss
    from scico.optimize import PDHG

    A, shape = _scico_operator(case), tuple(int(n) for n in case["shape"])
    D = linop.FiniteDifference(shape, input_dtype=np.float32, append=0)
    a, d = np.sqrt(case["sigmas"]).tolist()
    data = loss.SquaredL2Loss(y=snp.array(a * case["y"]), scale=0.5 / a**2)
    edges = (float(case["weight"]) / d) * functional.L21Norm(l2_axis=0)
    both, K = functional.SeparableFunctional((data, edges)), linop.VerticalStack((a * A, d * D))

    def solve() -> np.ndarray:
        solver = PDHG(
            f=functional.ZeroFunctional(),
            g=both,
            C=K,
            tau=float(case["tau"]),
            sigma=1.0,
            maxiter=int(case["n_iter"]) + 1,
        )
        return np.array(solver.solve())

    return solve


def scico_wavelet(case: Case) -> Solve:
    """None."""
    raise NotOffered("SCICO has no wavelet transform")


def _scico_operator(case: Case):
    """A scan goes to the ASTRA back end, which runs on the CPU; its angles turn y upwards."""
    import scico.numpy as snp
    from scico import linop

    shape = tuple(int(n) for n in case["shape"])
    if "angles" in case:
        from scico.linop.xray.astra import XRayTransform2D

        height, width = (n / 2 for n in shape)
        limits = [-width - 0.5, width - 0.5, -height + 0.5, height + 0.5]
        options = {"volume_geometry": limits, "device": "cpu"}
        return XRayTransform2D(shape, case["y"].shape[1], 1.0, -case["angles"], **options)
    kernel = case["kernel"]
    centre = [n // 2 for n in kernel.shape]
    return linop.CircularConvolve(snp.array(kernel), shape, h_center=centre, jit=True)


# ---------------------------------------------------------------------------------------------- ODL


def odl_tv(case: Case) -> Solve:
    """Its pdhg with its gradient and functionals."""
    import odl

    A, y, layout = _odl_operator(case)
    D = odl.Gradient(A.domain, method="forward", pad_mode="symmetric")
    a, d = np.sqrt(case["sigmas"]).tolist()
    data = (0.5 / a**2) * odl.functionals.L2NormSquared(A.range).translated(a * y)
    edges = (float(case["weight"]) / d) * odl.functionals.GroupL1Norm(D.range)
    both = odl.functionals.SeparableSum(data, edges)
    nothing, K = odl.functionals.ZeroFunctional(A.domain), odl.BroadcastOperator(a * A, d * D)

    def solve() -> np.ndarray:
        x = A.domain.zero()
        steps = {"tau": float(case["tau"]), "sigma": 1.0}
        odl.solvers.pdhg(x, nothing, both, K, int(case["n_iter"]), **steps)
        return layout(x)

    return solve


def odl_wavelet(case: Case) -> Solve:
    """Its accelerated_proximal_gradient on the coefficients, through PyWavelets."""
    import math
    import types

    import odl
    from odl.solvers.nonsmooth import proximal_gradient_solvers

    # ODL 1.0.0 refuses the NumPy scalars that its own method makes of square roots.
    proximal_gradient_solvers.np = types.SimpleNamespace(sqrt=math.sqrt)

    A, y, layout = _odl_operator(case)
    W = odl.trafos.WaveletTransform(
        A.domain,
        wavelet=str(case["wavelet"]),
        nlevels=int(case["levels"]),
        pad_mode="pywt_periodic",
    )
    B = A * W.inverse
    data = 0.5 * odl.functionals.L2NormSquared(A.range).translated(y) * B
    penalty = _odl_detail_norm(W, float(case["weight"]))

    def solve() -> np.ndarray:
        c = B.domain.zero()
        n_iter = int(case["n_iter"])
        odl.solvers.accelerated_proximal_gradient(c, penalty, data, float(case["step"]), n_iter)
        return layout(W.inverse(c))

    return solve


def _odl_detail_norm(W: Any, weight: float):
    """W ‖·‖₁ of the coefficients but the coarsest, which ODL's own norms do not leave out."""
    import odl

    thresholds = np.where(W.scales().data > 0, weight, 0).astype(np.float32)

    class Shrink(odl.Operator):
        def __init__(self, step: float):
            super().__init__(W.range, W.range, linear=False)
            self.thresholds = step * thresholds

        def _call(self, x, out):
            values = x.data
            out.data[:] = np.sign(values) * np.maximum(np.abs(values) - self.thresholds, 0)

    class DetailNorm(odl.functionals.Functional):
        def __init__(self):
            super().__init__(space=W.range, linear=False)

        @property
        def proximal(self):
            return Shrink

        def _call(self, x):
            return float(np.sum(thresholds * np.abs(x.data)))

    return DetailNorm()


def _odl_operator(case: Case):
    """A, y, and what brings an image of ODL's, whose axes are (x, y), into ours."""
    import odl

    height, width = (int(n) for n in case["shape"])
    if "angles" not in case:
        space = odl.uniform_discr([0, 0], [height, width], (height, width), dtype="float32")
        return _odl_blur(space, case["kernel"]), space.element(case["y"]), lambda x: x.data.copy()
    from odl.applications import tomo

    low = [-width / 2 - 0.5, -height / 2 - 0.5]
    high = [width / 2 - 0.5, height / 2 - 0.5]
    space = odl.uniform_discr(low, high, (width, height), dtype="float32")
    n_views, n_bins = case["y"].shape
    half = np.pi / n_views / 2
    views = odl.uniform_partition(-half, np.pi - half, n_views)
    bins = odl.uniform_partition(-n_bins / 2, n_bins / 2, n_bins)
    A = tomo.RayTransform(space, tomo.Parallel2dGeometry(views, bins), impl="astra_cpu")
    return A, A.range.element(case["y"]), lambda x: x.data.copy().T


def _odl_blur(space: Any, kernel: np.ndarray):
    """Circular convolution by SciPy's real FFT on all cores; ODL's own transform is complex."""
    import odl
    import scipy.fft

    centred = np.zeros(space.shape, np.float32)
    centred[: kernel.shape[0], : kernel.shape[1]] = kernel
    centred = np.roll(centred, [-(n // 2) for n in kernel.shape], (0, 1))
    transfer = scipy.fft.rfft2(centred)

    class Blur(odl.Operator):
        def __init__(self, spectrum: np.ndarray):
            super().__init__(space, space, linear=True)
            self.spectrum = spectrum

        def _call(self, x, out):
            transformed = scipy.fft.rfft2(x.data, workers=-1)
            transformed *= self.spectrum
            out.data[:] = scipy.fft.irfft2(transformed, space.shape, workers=-1)

        @property
        def adjoint(self):
            return Blur(np.conj(self.spectrum))

    return Blur(transfer)


DEEPINV = {"tv": deepinv_tv, "wavelet": deepinv_wavelet, "pnp": deepinv_pnp}

PROGRAMS: dict[str, dict[str, Callable[[Case], Solve]]] = {
    "deepinv": DEEPINV,
    "deepinv, 1 thread": {name: one_thread(method) for name, method in DEEPINV.items()},
    "scico": {"tv": scico_tv, "wavelet": scico_wavelet},
    "odl": {"tv": odl_tv, "wavelet": odl_wavelet},
}


# ------------------------------------------------------------------------------------------ serving


def installed() -> dict:
    """The programs that this interpreter can run, and versions."""
    programs = [p for p in PROGRAMS if importlib.util.find_spec(p.split(",")[0]) is not None]
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"programs": programs, "versions": versions}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(PROGRAMS[sys.argv[1]], Path(sys.argv[2]))
    else:
        print(json.dumps(installed()))
