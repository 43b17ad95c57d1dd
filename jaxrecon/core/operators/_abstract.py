"""What a forward model is, linear or not, and the checks of what it is given."""

import abc
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

if TYPE_CHECKING:
    from jaxrecon.core.operators._operator import LinearOperator


class Operator(abc.ABC):
    """A forward model y = A(x), possibly nonlinear, between pytrees of arrays."""

    @property
    @abc.abstractmethod
    def domain(self) -> PyTree:
        """`jax.ShapeDtypeStruct` tree of x."""

    @property
    @abc.abstractmethod
    def range(self) -> PyTree:
        """`jax.ShapeDtypeStruct` tree of y."""

    @abc.abstractmethod
    def forward(self, x: Any) -> Any:
        """The map itself, without the checks of `A(x)`."""

    @abc.abstractmethod
    def linearise(self, x: Any) -> "tuple[Any, LinearOperator]":
        """A(x) and the derivative at x as a `LinearOperator`."""

    def subset(self, i: Any, n: int) -> Any:
        """The i-th of n equal parts of the measurement; i may be traced.

        Raises:
            ValueError: this operator's measurement has no natural parts.
        """
        raise ValueError(f"`{type(self).__name__}` has no subsets: pass an operator that has some")

    def __call__(self, x: Any) -> Any:
        """A(x) for one example.

        Raises:
            ValueError: x does not have the structure, shapes or kind of numbers of `domain`.
        """
        _check_argument(self, x, self.domain, "x")
        return self.forward(x)


def _check_argument(A: Operator, x: Any, expected: PyTree, name: str) -> None:
    got, want = jax.tree.structure(x), jax.tree.structure(expected)
    if got != want:
        raise ValueError(f"`{name}` of {type(A).__name__} has structure {got}, expected {want}")
    for leaf, struct in zip(jax.tree.leaves(x), jax.tree.leaves(expected), strict=True):
        shape, dtype = jnp.shape(leaf), jnp.result_type(leaf)
        if shape != struct.shape:
            batched = len(shape) > len(struct.shape)
            hint = ": for a batch of examples use `jax.vmap(A)`" if batched else ""
            raise ValueError(
                f"`{name}` of {type(A).__name__} has shape {shape}, expected {struct.shape}{hint}"
            )
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise ValueError(
                f"`{name}` of {type(A).__name__} has dtype {dtype}, expected {struct.dtype}: "
                f"convert it with `.astype({struct.dtype.name!r})`"
            )


def check_compatible(what: str, left: str, a: PyTree, right: str, b: PyTree) -> None:
    shapes = [[s.shape for s in jax.tree.leaves(t)] for t in (a, b)]
    if jax.tree.structure(a) != jax.tree.structure(b) or shapes[0] != shapes[1]:
        raise ValueError(f"`{what}`: {left} is {a}, but {right} is {b}")
