"""Learned algorithms, and algorithms whose weights change from one iteration to the next.

Both are algorithms like any other, so that `jaxrecon.core.run` iterates, unrolls or differentiates
them implicitly, on a `Problem` with the data in its fidelity.
"""

import abc
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, pytree, tree
from jaxrecon.functionals import Wrapper
from jaxrecon.nets.reconstruction._networks import fresh


class Change(NamedTuple):
    """Relative change of the image."""

    residual: Array


class LearnedIteration(nnx.Module, Algorithm):
    """One learned iteration: a module that is an algorithm.

    A subclass says how a state begins and how it goes on; the state is a pytree of arrays, and the
    map from one to the next is taken for the `fixed_point` map of implicit differentiation. With
    weights shared, ``run(iteration, problem, x0, n_iter=10, gradient="unrolled")`` is a recurrent
    network, and "implicit" a deep equilibrium.
    """

    @abc.abstractmethod
    def start(self, problem: Any, x0: PyTree) -> Any:
        """The first state."""

    @abc.abstractmethod
    def advance(self, problem: Any, state: Any) -> Any:
        """The next state."""

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> Any:
        del key
        return self.start(problem, x0)

    def step(self, problem: Any, state: Any, inputs: Any) -> tuple[Any, Change]:
        del inputs
        new = fresh(self).advance(problem, state)
        return new, Change(tree.relative_change(self.value(new), self.value(state)))

    def point(self, state: Any) -> PyTree:
        return state

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        return fresh(self).advance(problem, point)

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        del problem
        return self.value(point)


@pytree
class Replaceable(Wrapper):
    """A prior in whose place each iteration puts its own."""

    inner: Any

    def __call__(self, x: PyTree) -> Array:
        return self.inner(x)

    def grad(self, x: PyTree) -> PyTree:
        return self.inner.grad(x)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        return self.inner.prox(x, step)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return self.inner.curvature_root(A)


@pytree
class PerIteration(Algorithm):
    """An algorithm each of whose iterations has a prior, or all its weights, for itself.

    They are given to `run` as inputs, with leading axis n_iter: {"prior": functionals} in the place
    of every `Replaceable` in the problem, {"algorithm": algorithms} in the place of this one. Other
    inputs, such as "step" or "penalty", are handed on.

    Attributes:
        algorithm: what begins the state and reads it.
    """

    algorithm: Algorithm

    def prepare(self, problem: Any) -> Any:
        return self.algorithm.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> Any:
        return self.algorithm.init(problem, x0, key=key)

    def step(self, problem: Any, state: Any, inputs: Any) -> tuple[Any, Any]:
        given = dict(inputs)
        algorithm = given.pop("algorithm", self.algorithm)
        prior = given.pop("prior", None)
        problem = problem if prior is None else _with_prior(problem, prior)
        return algorithm.step(problem, state, given or None)

    def value(self, state: Any) -> PyTree:
        return self.algorithm.value(state)

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        """Raises.

        Raises:
            ValueError: always, iterations that differ have no fixed point.
        """
        raise ValueError(
            "`shared` is False: iterations that differ have no fixed point to differentiate. Share "
            "the weights, or pass gradient='unrolled'"
        )


def _with_prior(problem: Any, prior: Any) -> Any:
    """The problem, in whatever form an algorithm has prepared it, with another prior."""
    is_place = lambda node: isinstance(node, Replaceable)  # noqa: E731
    return jax.tree.map(lambda n: prior if is_place(n) else n, problem, is_leaf=is_place)
