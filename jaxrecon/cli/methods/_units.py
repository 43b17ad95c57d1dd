"""The measurement's own units, so that one default strength serves scans of any scale.

The operator (statistical weights inside) is scaled to norm one, and the image is counted in units
of the 99th percentile of a first image, filtered back-projection or adjoint.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.cli.methods._method import Measurement, Outcome, Report, Settings
from jaxrecon.core import LinearOperator, diagonal, norm, run
from jaxrecon.physics import ct

_MARGIN = 1.02  # power iteration approaches the norm from below


class Normalised(NamedTuple):
    """A of norm one with the weights inside; data divided by `scale`, the image by `size`."""

    operator: LinearOperator
    data: Array
    size: Array
    scale: Array


def normalised(measurement: Measurement, first: Array) -> Normalised:
    """A measurement in units of the first image's size.

    Raises:
        ValueError: the first image is zero.
    """
    A, data, w = measurement.operator, measurement.data, measurement.weights
    if w is not None:
        root = diagonal(jnp.sqrt(w), A.range)
        A, data = root @ A, root(data)
    norm_A = _MARGIN * norm(A, jax.random.key(0), n_iter=50, tol=1e-3).value
    size = jnp.percentile(jnp.abs(first), 99.0)
    size = jnp.where(size > 0, size, jnp.max(jnp.abs(first)))  # a small object in a large field
    if not float(size) > 0:
        raise ValueError("the first image is zero everywhere: the data hold no signal")
    scale = norm_A * size
    return Normalised((1 / norm_A) * A, data / scale, size, scale)


def first_ct(measurement: Measurement) -> Array:
    """Filtered back-projection without its negative values."""
    return jnp.maximum(ct.fbp(measurement.operator, measurement.data), 0)


def first_mri(measurement: Measurement) -> Array:
    """The adjoint of the weighted data: zero-filled Fourier inversion, or gridding."""
    w, data = measurement.weights, measurement.data
    return measurement.operator.H(data if w is None else w * data)


def solved(
    algorithm: Any,
    problem: Any,
    settings: Settings,
    report: Report | None,
    first: Array | None = None,
    size: Any = 1.0,
    key: Any = None,
    inputs: Any = None,
) -> Outcome:
    """The outcome of a solver from the first image, in units of `size`; zeros without one."""
    domain = problem.domain
    x0 = jnp.zeros(domain.shape, domain.dtype) if first is None else first / size
    result = run(
        algorithm,
        problem,
        x0,
        n_iter=settings.n_iter,
        tol=settings.tol or None,
        inputs=inputs,
        key=key,
        progress=report,
    )
    return Outcome(size * result.value, result.status, int(result.n_iter))
