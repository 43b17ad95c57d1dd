"""Gaussian likelihoods of linear data, whitened, and the data step that they have.

Σ f(A x) = ½ ‖B x − z‖²,   B = W^{1/2} A,   z = W^{1/2} y                                (1)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import LinearOperator, identity
from jaxrecon.functionals import LeastSquares
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.solvers.splitting import data_step

OTHERS = (
    "`DPS`, `GradientStep`, `LangevinStep`, `REDDiff`, `PnPFlow` and chains take any likelihood"
)


def gaussian_term(target: Posterior) -> tuple[LeastSquares, LinearOperator]:
    """The one term of a Gaussian likelihood.

    Raises:
        ValueError: there are several, or it is another.
    """
    terms = target.likelihood.terms
    if len(terms) != 1 or not isinstance(terms[0][0], LeastSquares):
        names = ", ".join(type(f).__name__ for f, _ in terms)
        raise ValueError(f"`likelihood` is {names}; this one takes one LeastSquares: {OTHERS}")
    if not isinstance(terms[0][1], LinearOperator):
        raise ValueError(f"`likelihood` has an operator that is not linear: {OTHERS}")
    return terms[0]  # pyright: ignore[reportReturnType]


def whitened(target: Posterior) -> tuple[LinearOperator, PyTree]:
    """B and z of equation (1), with noise of deviation one.

    Raises:
        ValueError: as for `gaussian_term`.
    """
    term, A = gaussian_term(target)
    if term.weights is None:
        return A, term.data
    root = jnp.sqrt(term.weights)
    data = jax.tree.map(lambda y: root * y, term.data)
    # One factor for all data keeps what is known of A in closed form.
    return (root * A if root.ndim == 0 else term.curvature_root(A)), data


def data_solver(target: Posterior, n_inner: int) -> Any:
    """``solve(mu, v, start)``: argmin over x of Σ f(A x) + μ/2 ‖x − v‖²."""
    B, z = whitened(target)
    return data_step([(LeastSquares(z), B)], [identity(target.domain)], [1.0], n_inner=n_inner)
