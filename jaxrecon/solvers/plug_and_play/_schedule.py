"""How strong the denoiser is at each iteration: the schedule of half-quadratic splitting.

HQS alternates x = argmin f(Ax) + μ/2 ‖x − z‖² and z = prox of g/μ at x. With the prior's weight w,
that proximal map is a denoiser of strength

    σ_k = √(w / μ_k),                                                                       (1)

so a schedule of strengths is one of penalties. DPIR (Zhang et al., IEEE TPAMI 44, 2022) lets σ_k
fall evenly in the logarithm from about 50 grey levels of 255 to the noise level s of the data, with
w = λ s², λ = 0.23: the data are trusted by their noise, the prior is a fixed multiple of it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Schedule(NamedTuple):
    """Penalties for each iteration, ``(iteration,)``, with the prior's weight; equation (1)."""

    penalty: Float[Array, " iteration"]
    weight: Any

    @property
    def sigmas(self) -> Float[Array, " iteration"]:
        """The denoiser's strength at each iteration."""
        return jnp.sqrt(self.weight / self.penalty)


def dpir_schedule(
    noise: Any, n_iter: int, *, start: Any = 49 / 255, stop: Any = None, factor: Any = 0.23
) -> Schedule:
    """The schedule of DPIR for an unweighted `LeastSquares` of data with noise of deviation s.

    Args:
        noise: s, in the units of the data.
        n_iter: iterations.
        start: the first strength, in units of the image; 49/255 of its range in the paper.
        stop: the last strength; `noise` by default, which suits an operator of norm about 1.
        factor: λ, the trust in the denoiser.

    Example:
        >>> schedule = dpir_schedule(0.01, 3, start=0.16)
        >>> [round(float(s), 3) for s in schedule.sigmas]
        [0.16, 0.04, 0.01]
    """
    sigmas = jnp.geomspace(start, noise if stop is None else stop, n_iter)
    weight = factor * jnp.asarray(noise, sigmas.dtype) ** 2
    return Schedule(weight / sigmas**2, weight)
