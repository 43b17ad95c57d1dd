"""The methods of `quality.py`, all on A with norm one and images of about [0, 1], and their tuning.

- Tikhonov: ½‖Ax − y‖² + ½ w ‖Dx‖² with the image's gradient, by conjugate gradients.
- TV: w ‖Dx‖₂₁ in its place, by primal-dual hybrid gradient.
- wavelet: w times the l1 norm of Daubechies-2 details, by FISTA with random cycle spinning.
- PnP: half-quadratic splitting with DPIR's schedule for every denoiser alike, from the task's first
  image. Its parameters are the last strength of the denoiser, `stop`, and the trust in it,
  `factor`; the first strength is 49/255. Complex images are freed from their smooth phase, then
  real and imaginary part are denoised; a network for one strength is rescaled to others.

Fidelities carry the statistical weights where there are some. Images that cannot be negative are
cut off at zero in the end, whatever the method. Parameters climb a geometric ladder, one after the
other, by the mean PSNR of the validation images; a maximum on a ladder's end is reported as such.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from _quality.shared import Ladder, Scan, Task, powers
from jaxrecon import metrics
from jaxrecon.core import (
    LinearOperator,
    Problem,
    centered_fft,
    centered_ifft,
    gradient,
    identity,
    pytree,
    run,
    static,
)
from jaxrecon.functionals import L21, LeastSquares, SquaredL2, WaveletL1, denoisers, wavelet
from jaxrecon.functionals.denoisers import Complex, DenoiserPrior
from jaxrecon.nets import pretrained
from jaxrecon.nets.priors import read_dncnn
from jaxrecon.solvers import FISTA, HQS, PDHG, ConjugateGradient
from jaxrecon.solvers.plug_and_play import dpir_schedule

LEAST_GAIN = 0.02  # dB, for which a further step is taken


class Method(NamedTuple):
    """A reconstruction `f(operator, scan, parameters)`, its parameters' ladders, where to begin."""

    reconstruct: Partial
    ladders: dict[str, Ladder]
    start: dict[str, float]


class Effort(NamedTuple):
    """Iterations."""

    tikhonov: int = 60
    tv: int = 300
    wavelet: int = 150
    pnp: int | None = None  # the task's own
    inner: int = 20


FULL, QUICK = Effort(), Effort(tikhonov=10, tv=20, wavelet=10, pnp=2, inner=3)


# -------------------------------------------------------------------------------------- the methods


def tikhonov(n_iter: int, A: LinearOperator, scan: Scan, parameters: dict) -> Array:
    prior = (SquaredL2(parameters["weight"]), gradient(A.domain))
    problem = Problem((fidelity(A, scan), prior))
    return run(ConjugateGradient(), problem, scan.first, n_iter=n_iter).value


def total_variation(n_iter: int, A: LinearOperator, scan: Scan, parameters: dict) -> Array:
    prior = (L21(parameters["weight"]), gradient(A.domain))
    problem = Problem((fidelity(A, scan), prior))
    return run(PDHG(), problem, scan.first, n_iter=n_iter).value


def l1_wavelet(n_iter: int, A: LinearOperator, scan: Scan, parameters: dict) -> Array:
    W = wavelet(A.domain, "db2", levels=3)
    prior = (WaveletL1(parameters["weight"], W), identity(A.domain))
    problem = Problem((fidelity(A, scan), prior))
    return run(FISTA(), problem, scan.first, n_iter=n_iter, key=jax.random.key(0)).value


def plug_and_play(
    n_iter: int,
    n_inner: int,
    denoiser: Any,
    noise: Any,
    A: LinearOperator,
    scan: Scan,
    parameters: dict,
) -> Array:
    stop, factor = parameters["stop"], parameters["factor"]
    schedule = dpir_schedule(noise, n_iter, stop=stop, factor=factor)
    prior = DenoiserPrior(denoiser, weight=schedule.weight)
    problem = Problem((fidelity(A, scan), (prior, identity(A.domain))))
    inputs = {"penalty": schedule.penalty}
    return run(HQS(n_inner=n_inner), problem, scan.first, n_iter=n_iter, inputs=inputs).value


def fidelity(A: LinearOperator, scan: Scan) -> tuple[LeastSquares, LinearOperator]:
    return LeastSquares(scan.data, scan.weights), A


@pytree
class Rescaled:
    """A network trained for one strength at others: D(x, σ) = (σ/s) N(s x/σ).

    Xu, Liu, Sun, Wohlberg and Kamilov, IEEE Signal Process. Lett. 27, 2020.
    """

    network: Any
    trained: Any

    def __call__(self, x: Array, sigma: Any) -> Array:
        gain = self.trained / sigma
        return self.network(x * gain, self.trained) / gain


@pytree
class Mirrored:
    """A network on an image extended by its mirror image, for those that err near borders."""

    network: Any
    margin: int = static(default=8)

    def __call__(self, x: Array, sigma: Any) -> Array:
        extended = self.network(jnp.pad(x, self.margin, mode="symmetric"), sigma)
        return extended[(slice(self.margin, -self.margin),) * x.ndim]


@pytree
class Demodulated:
    """A denoiser of complex images on those without their smooth phase, which it gives back.

    The phase is that of the central `width` × `width` samples of k-space, tapered. What is left is
    nearly real and positive: what denoisers of photographs were made for.
    """

    denoiser: Any
    width: int = static(default=16)

    def __call__(self, x: Array, sigma: Any) -> Array:
        window = jnp.hanning(self.width + 2)[1:-1]
        tapers = [_centred(window, n) for n in x.shape]
        smooth = centered_ifft(centered_fft(x, (0, 1)) * tapers[0][:, None] * tapers[1], (0, 1))
        phase = jnp.exp(1j * jnp.angle(smooth))
        return phase * self.denoiser(phase.conj() * x, sigma)


def _centred(window: Array, n: int) -> Array:
    before = n // 2 - len(window) // 2
    return jnp.pad(window, (before, n - before - len(window)))


def method(task: Task, name: str | None, effort: Effort, networks: Path) -> Method:
    """One of `REGULARISED` on a task, or the task's direct reconstruction for None."""
    if name is None:
        ladders = task.direct.ladders
        middle = {key: ladder[len(ladder) // 2] for key, ladder in ladders.items()}
        return Method(Partial(task.direct.reconstruct), ladders, middle)
    if name in VARIATIONAL:
        solve, start = VARIATIONAL[name]
        n_iter = getattr(effort, name.lower())
        ladders = {"weight": powers(2, -20, 2)}
        return Method(Partial(functools.partial(solve, n_iter)), ladders, {"weight": start})
    denoiser = DENOISERS[name.removeprefix("PnP ")](networks)
    if task.is_complex:
        denoiser = Demodulated(Complex(denoiser))
    solve = functools.partial(plug_and_play, effort.pnp or task.n_iter, effort.inner)
    return Method(Partial(solve, denoiser, task.noise), PNP_LADDERS, PNP_START)


VARIATIONAL = {
    "Tikhonov": (tikhonov, 2.0**-8),
    "TV": (total_variation, 2.0**-10),
    "wavelet": (l1_wavelet, 2.0**-10),
}
PNP_LADDERS = {
    "factor": tuple(0.23 * p for p in powers(4, -6, 6)),
    "stop": powers(2**0.5, -20, -3),
}
PNP_START = {name: PNP_LADDERS[name][i] for name, i in {"factor": 6, "stop": 7}.items()}

# Slow ones last. 0.1 and 25/255 are the strengths that the blind networks were trained for. The
# others are told the strength by a second channel and lose up to 3 dB over an image to its border.
DENOISERS: dict[str, Callable[[Path], Any]] = {
    "median": lambda _: denoisers.Median(),
    "bilateral": lambda _: denoisers.Bilateral(),
    "non-local means": lambda _: denoisers.NonLocalMeans(),
    "TV": lambda _: denoisers.total_variation(),
    "TGV": lambda _: denoisers.total_generalised_variation(),
    "wavelet": lambda _: denoisers.WaveletShrinkage(),
    "DCT": lambda _: denoisers.DCTDenoiser(),
    "DnCNN 6N": lambda networks: Mirrored(read_dncnn(networks / "scico_dncnn6N.npz")),
    "BM3D": lambda _: denoisers.BM3D(),
    "DnCNN 17M": lambda networks: Rescaled(read_dncnn(networks / "scico_dncnn17M.npz"), 0.1),
    "DnCNN 17N": lambda networks: Mirrored(read_dncnn(networks / "scico_dncnn17N.npz")),
    "DnCNN 25": lambda networks: Rescaled(read_dncnn(networks / "kair_dncnn_25.npz"), 25 / 255),
    "shipped DnCNN": lambda _: pretrained.load("denoiser-grey"),
    "shipped WCRR": lambda _: pretrained.load("wcrr"),
}
REGULARISED = (*VARIATIONAL, *(f"PnP {name}" for name in DENOISERS))


# -------------------------------------------------------------------------------------- measurement


@functools.partial(jax.jit, static_argnames="positive")
def _batch(
    method: Partial, A: LinearOperator, scans: Scan, parameters: dict, positive: bool
) -> tuple[Array, dict]:
    def one(scan: Scan) -> tuple[Array, dict]:
        image = method(A, scan, parameters)
        cut = positive and not jnp.iscomplexobj(image)
        image = jnp.maximum(image, 0) if cut else image
        return image, metrics.summary(image, scan.truth)

    return jax.vmap(one)(scans)


def evaluate(
    method: Partial, task: Task, scans: Scan, parameters: dict, batch: int
) -> tuple[Array, dict[str, Array]]:
    """Images and scores of a stack of scans of a task, some at a time."""
    parts = []
    for i in range(0, len(scans.truth), batch):
        some = jax.tree.map(lambda a, i=i: a[i : i + batch], scans)
        parts.append(_batch(method, task.operator, some, parameters, task.positive))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def tune(method: Method, task: Task, log: Callable[[str], None]) -> dict:
    """Climbs every ladder in turn until no neighbour is better.

    Returns:
        The parameters, those of them on an end of their ladder, the validation PSNR and the number
        of settings tried.
    """
    seen: dict[tuple[float, ...], float] = {}
    names = list(method.ladders)

    def score(at: dict[str, int]) -> float:
        parameters = {name: method.ladders[name][i] for name, i in at.items()}
        key = tuple(parameters.values())
        if key not in seen:
            n = len(task.validation.truth)
            scores = evaluate(method.reconstruct, task, task.validation, parameters, n)[1]
            psnr = float(jnp.mean(scores["psnr"]))
            seen[key] = psnr if psnr == psnr else -jnp.inf
            log(f"  {parameters} {psnr:.2f} dB")
        return seen[key]

    at = {name: method.ladders[name].index(method.start[name]) for name in names}
    best, before = score(at), None
    while at != before:
        before = dict(at)
        for name in names:
            best = _climb(score, at, name, len(method.ladders[name]), best)
    ends = [name for name, i in at.items() if i in (0, len(method.ladders[name]) - 1)]
    chosen = {name: method.ladders[name][i] for name, i in at.items()}
    return {"parameters": chosen, "at_ends": ends, "validation_psnr": best, "tried": len(seen)}


def _climb(
    score: Callable[[dict[str, int]], float], at: dict[str, int], name: str, n: int, best: float
) -> float:
    """Moves one parameter, in place, while it pays."""
    for direction in (1, -1):
        while 0 <= at[name] + direction < n:
            value = score(at | {name: at[name] + direction})
            if value < best + LEAST_GAIN:
                break
            at[name] += direction
            best = value
    return best
