"""Choosing a parameter without the truth: generalised cross-validation and unbiased risk.

With x̂(y) the reconstruction from m real measurements y = A x + noise of standard deviation σ, both
judge the prediction A x̂ and need the divergence of y ↦ A x̂(y), its degrees of freedom:

    GCV   = (‖A x̂ − y‖² / m) / (1 − div / m)²                                              (1)
    SURE  = ‖A x̂ − y‖² / m − σ² + 2 σ² div / m                                             (2)

(Golub, Heath and Wahba, Technometrics 21, 1979; Stein, Ann. Stat. 9, 1981). SURE estimates
E‖A x̂ − A x‖²/m without bias for Gaussian noise; GCV does not need σ. The divergence is estimated
with random signs b by a difference (Ramani, Blu and Unser, IEEE Trans. Image Process. 17, 2008)

    div ≈ mean over b of ⟨b, A x̂(y + εb) − A x̂(y)⟩ / ε,                                    (3)

so any reconstruction will do, also one without a derivative. The same signs serve all candidates,
which makes the curve smooth, and the choice reproducible from its key.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxrecon.core import Operator, tree
from jaxrecon.solvers.tuning._choice import (
    Choice,
    Reconstruct,
    check_candidates,
    each,
    n_real,
    smallest,
    squared_distance,
)


def gcv(
    reconstruct: Reconstruct,
    A: Operator,
    data: Any,
    candidates: Any,
    *,
    key: Key[Array, ""],
    n_probes: int = 1,
    epsilon: Any = None,
) -> Choice:
    """The parameter of least generalised cross-validation score, equation (1).

    Args:
        reconstruct: ``reconstruct(parameter, data) -> image``.
        A: the forward model.
        data: the measurements, any pytree of real or complex arrays.
        candidates: parameters to try, ``(candidate,)``.
        key: draws the probes of equation (3).
        n_probes: how many.
        epsilon: length of the difference; by default a thousandth of the data's root mean square.

    Raises:
        ValueError: fewer than three candidates.

    Example:
        >>> from jaxrecon.core import identity
        >>> y = 1.0 + 0.1 * jax.random.normal(jax.random.key(0), (400,))
        >>> shrink = lambda w, y: (y + w * y.mean()) / (1 + w)
        >>> I, key = identity(y), jax.random.key(1)
        >>> bool(gcv(shrink, I, y, jnp.array([0.1, 1.0, 100.0]), key=key).parameter > 1)
        True
    """
    candidates, m = check_candidates(candidates), n_real(data)
    measure = _Measure(reconstruct, A, data, key, n_probes, epsilon)

    def score(parameter):
        misfit, divergence = measure(parameter)
        return (misfit / m) / (1 - divergence / m) ** 2

    return smallest(candidates, each(score, candidates))


def sure(
    reconstruct: Reconstruct,
    A: Operator,
    data: Any,
    sigma: Any,
    candidates: Any,
    *,
    key: Key[Array, ""],
    n_probes: int = 1,
    epsilon: Any = None,
) -> Choice:
    """The parameter of least estimated risk ‖A x̂ − A x‖²/m, equation (2).

    Args:
        reconstruct: ``reconstruct(parameter, data) -> image``.
        A: the forward model; the identity for denoising, where this is the risk of the image.
        data: the measurements, any pytree of real or complex arrays.
        sigma: standard deviation of the noise, of each part for complex data.
        candidates: parameters to try, ``(candidate,)``.
        key: draws the probes of equation (3).
        n_probes: how many.
        epsilon: length of the difference; by default a thousandth of the data's root mean square.

    Raises:
        ValueError: fewer than three candidates.
    """
    candidates, m = check_candidates(candidates), n_real(data)
    measure = _Measure(reconstruct, A, data, key, n_probes, epsilon)

    def score(parameter):
        misfit, divergence = measure(parameter)
        return misfit / m - sigma**2 + 2 * sigma**2 * divergence / m

    return smallest(candidates, each(score, candidates))


class _Measure:
    """‖A x̂ − y‖² and the divergence of equation (3) for one parameter."""

    def __init__(self, reconstruct, A, data, key, n_probes, epsilon):
        self._predict = lambda parameter, y: A(reconstruct(parameter, y))
        self._data = data
        self._probes = jax.vmap(lambda key: _signs(key, data))(jax.random.split(key, n_probes))
        rms = jnp.sqrt(tree.sum_of_squares(data) / n_real(data))
        self._epsilon = 1e-3 * rms if epsilon is None else epsilon

    def __call__(self, parameter: Any) -> tuple[Array, Array]:
        prediction = self._predict(parameter, self._data)
        divergence = jax.lax.map(lambda b: self._along(b, parameter, prediction), self._probes)
        return squared_distance(prediction, self._data), jnp.mean(divergence)

    def _along(self, b: Any, parameter: Any, prediction: Any) -> Array:
        moved = self._predict(parameter, tree.add_scaled(self._data, self._epsilon, b))
        return tree.dot(b, tree.sub(moved, prediction)) / self._epsilon


def _signs(key: Key[Array, ""], data: Any) -> Any:
    """Random signs like the data; in the real and in the imaginary part of complex ones."""
    leaves, structure = jax.tree.flatten(tree.to_real(data))
    keys = jax.random.split(key, len(leaves))
    draws = [jax.random.rademacher(k, y.shape, y.dtype) for k, y in zip(keys, leaves, strict=True)]
    return tree.from_real(jax.tree.unflatten(structure, draws), data)
