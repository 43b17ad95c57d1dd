"""What an algorithm is: a problem, a step, and what comes out.

A `Problem` says what is minimised, Σ fᵢ(Aᵢ x). An `Algorithm` is `init` and `step`; the driver in
`_run.py` iterates, unrolls or differentiates it. State is what the next step needs, info what a
person wants to see.
"""

import abc
import warnings
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxrecon.core._pytree import pytree
from jaxrecon.core.operators import Operator, shared_sum

# In the order of how bad they are: a batch reports its worst.
RUNNING, CONVERGED, STOPPED, COMPLETED, EXPANSIVE, NOT_CONVERGED, NOT_FINITE = range(7)

_ADVICE = {
    RUNNING: "still running",
    CONVERGED: "converged to the tolerance",
    STOPPED: "stopped by the rule it was given",
    COMPLETED: "did all iterations; no tolerance was asked for",
    NOT_CONVERGED: (
        "reached the iteration limit before the tolerance or the stopping rule: raise `n_iter`, "
        "loosen `tol`, or precondition and rescale the problem"
    ),
    EXPANSIVE: (
        "the denoiser moves nearby images apart at the result, so that convergence is not "
        "guaranteed: average it over symmetries, weaken it, or use one trained to be non-expansive"
    ),
    NOT_FINITE: (
        "stopped at a value that is not finite: check the data for NaN, and the step size "
        "against the operator's norm"
    ),
}


class NotConvergedError(RuntimeError):
    """Raised by `Result.check` for a run that ended neither converged nor as asked."""


@pytree
class Status:
    """How a run ended, as data: a code that survives jit and vmap, with its advice in text."""

    code: Array

    @classmethod
    def expansive(cls) -> "Status":
        """The warning that a plugged-in denoiser moves images apart."""
        return cls(jnp.asarray(EXPANSIVE))

    def worse(self, other: "Status") -> "Status":
        """The worse of two."""
        return Status(jnp.maximum(self.code, other.code))

    @property
    def ok(self) -> Array:
        """Whether the result is what was asked for."""
        return (self.code >= CONVERGED) & (self.code <= EXPANSIVE)

    @property
    def advice(self) -> str:
        """What happened and what to do about it; for a batch, that of the worst code."""
        return _ADVICE[int(np.max(np.asarray(self.code)))]

    def __repr__(self) -> str:
        if isinstance(self.code, jax.core.Tracer):
            return f"Status({self.code})"
        return f"Status({self.advice})"


@pytree
class Result:
    """The outcome of a run.

    Attributes:
        value: the reconstruction, a pytree.
        status: how the run ended.
        info: the algorithm's info, each leaf with a leading iteration axis; entries after the last
            iteration are NaN (zero for integers).
        n_iter: the number of iterations done.
        record: what `run(record=...)` was asked to keep of every iteration, as `info` is kept.
    """

    value: Any
    status: Status
    info: Any
    n_iter: Array
    record: Any = None

    def check(self) -> "Result":
        """Returns itself, or raises outside jit; warns of an expansive denoiser.

        Raises:
            NotConvergedError: the run did not converge or met a value that is not finite.
        """
        if not bool(np.all(np.asarray(self.status.ok))):
            raise NotConvergedError(self.status.advice)
        if bool(np.any(np.asarray(self.status.code) == EXPANSIVE)):
            warnings.warn(self.status.advice, stacklevel=2)
        return self


@pytree
class Problem:
    """Σ fᵢ(Aᵢ x) as a pytree of (functional, operator) terms.

    The fidelity comes with the forward model; a regulariser with its own operator: identity,
    gradient, wavelet.
    """

    terms: tuple[tuple[Any, Operator], ...]

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.terms[0][1].domain

    def __call__(self, x: PyTree) -> Array:
        """The objective, a real scalar; of all devices that share a measurement."""
        values = [shared_sum(functional(A(x)), x) for functional, A in self.terms]
        return jnp.sum(jnp.stack(values))


class Algorithm(abc.ABC):
    """One iterative method: a pytree of its hyper-parameters with these methods.

    `info` is a NamedTuple of scalars with at least `residual`, the relative size of the last change
    or of the optimality residual; the driver stops at ``residual <= tol``.
    """

    def prepare(self, problem: Any) -> Any:
        """What `init` and `step` are given for a problem: a place for work that is done once."""
        return problem

    @abc.abstractmethod
    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> Any:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, problem: Any, state: Any, inputs: Any) -> tuple[Any, Any]:
        """One iteration: (state, info). `inputs` is this iteration's slice of `run`'s inputs."""

    @abc.abstractmethod
    def value(self, state: Any) -> PyTree:
        """The reconstruction held by a state."""

    def point(self, state: Any) -> PyTree:
        """What `fixed_point` maps: the reconstruction, or with it the duals of a splitting."""
        return self.value(state)

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        """The reconstruction at a point; the point itself unless it holds more than that."""
        del problem
        return point

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """The momentum-free map of a point to the next, whose fixed point gives the solution.

        It is given the prepared problem.

        Raises:
            ValueError: the method has none, so it cannot be differentiated implicitly.
        """
        raise ValueError(
            f"`{type(self).__name__}` has no momentum-free fixed-point map: pass "
            "gradient='unrolled', or an algorithm that has one"
        )
