"""Forward models as pure maps on pytrees: `Operator`, `LinearOperator` and their algebra.

An operator acts on one example; a batch is `jax.vmap(A)`. The adjoint is taken with respect to
Re⟨·,·⟩, so a real domain has a real adjoint. The algebra (`A @ B`, `A + B`, `c * A`, `A.H`,
`A.gram`, `stack`, `block_diagonal`) builds new operators out of old ones and calls nothing but
their forward and adjoint.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import _tree
from jaxrecon.core._pytree import operator


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

    def __call__(self, x: Any) -> Any:
        """A(x) for one example.

        Raises:
            ValueError: x does not have the structure, shapes or kind of numbers of `domain`.
        """
        _check_argument(self, x, self.domain, "x")
        return self.forward(x)


class LinearOperator(Operator):
    """A real-linear map between pytrees with its exact adjoint under Re⟨·,·⟩."""

    @abc.abstractmethod
    def adjoint(self, y: Any) -> Any:
        """Aᴴ y, without the checks of `A.H(y)`."""

    def linearise(self, x: Any) -> "tuple[Any, LinearOperator]":
        """A(x) and A itself."""
        return self(x), self

    @property
    def H(self) -> "LinearOperator":
        """The adjoint operator."""
        return Adjoint(self)

    @property
    def gram(self) -> "LinearOperator":
        """AᴴA; overridden where a faster way than one after the other exists."""
        return Composition(self.H, self)

    def weighted_gram(self, weights: Any) -> "LinearOperator":
        """AᴴWA for real weights that broadcast to the range; overridden like `gram`."""
        return WeightedGram(self, weights)

    def subset(self, i: Any, n: int) -> "LinearOperator":
        """The i-th of n equal parts of the measurement; i may be traced.

        Raises:
            ValueError: this operator's measurement has no natural parts.
        """
        raise ValueError(f"`{type(self).__name__}` has no subsets: pass an operator that has some")

    def __matmul__(self, other: "LinearOperator") -> "LinearOperator":
        if not isinstance(other, LinearOperator):
            raise TypeError(
                f"`A @ B` composes two operators, but B is a {type(other).__name__}: "
                "to apply an operator to an array write `A(x)`"
            )
        _check_compatible("A @ B", "A's domain", self.domain, "B's range", other.range)
        return Composition(self, other)

    def __add__(self, other: "LinearOperator") -> "LinearOperator":
        _check_compatible("A + B", "A's domain", self.domain, "B's domain", other.domain)
        _check_compatible("A + B", "A's range", self.range, "B's range", other.range)
        return Sum((self, other))

    def __sub__(self, other: "LinearOperator") -> "LinearOperator":
        return self + (-other)

    def __neg__(self) -> "LinearOperator":
        return Scaled(-1.0, self)

    def __mul__(self, factor: Any) -> "LinearOperator":
        if jnp.shape(factor) != ():
            raise ValueError(
                f"`c * A` needs a scalar c, got shape {jnp.shape(factor)}: "
                "for weights compose with `diagonal(weights, ...)`"
            )
        return Scaled(factor, self)

    __rmul__ = __mul__


@operator
class Adjoint(LinearOperator):
    """Aᴴ as an operator."""

    inner: LinearOperator

    @property
    def domain(self) -> PyTree:
        return self.inner.range

    @property
    def range(self) -> PyTree:
        return self.inner.domain

    def forward(self, x: Any) -> Any:
        return self.inner.adjoint(x)

    def adjoint(self, y: Any) -> Any:
        return self.inner.forward(y)

    @property
    def H(self) -> LinearOperator:
        return self.inner


@operator
class Composition(LinearOperator):
    """A B: first `inner`, then `outer`."""

    outer: LinearOperator
    inner: LinearOperator

    @property
    def domain(self) -> PyTree:
        return self.inner.domain

    @property
    def range(self) -> PyTree:
        return self.outer.range

    def forward(self, x: Any) -> Any:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Any) -> Any:
        return self.inner.adjoint(self.outer.adjoint(y))

    @property
    def H(self) -> LinearOperator:
        return Composition(self.inner.H, self.outer.H)

    @property
    def gram(self) -> LinearOperator:
        """Bᴴ (AᴴA) B, through A's own gram."""
        return Composition(self.inner.H, Composition(self.outer.gram, self.inner))

    def weighted_gram(self, weights: Any) -> LinearOperator:
        """Bᴴ (AᴴWA) B, through A's own."""
        return Composition(self.inner.H, Composition(self.outer.weighted_gram(weights), self.inner))

    def subset(self, i: Any, n: int) -> LinearOperator:
        return Composition(self.outer.subset(i, n), self.inner)


@operator
class WeightedGram(LinearOperator):
    """AᴴWA, its own adjoint; the weights are real, with the structure of the range."""

    inner: LinearOperator
    weights: Any

    @property
    def domain(self) -> PyTree:
        return self.inner.domain

    @property
    def range(self) -> PyTree:
        return self.inner.domain

    def forward(self, x: Any) -> Any:
        weighted = jax.tree.map(jnp.multiply, self.weights, self.inner.forward(x))
        return self.inner.adjoint(weighted)

    def adjoint(self, y: Any) -> Any:
        return self.forward(y)


@operator
class Sum(LinearOperator):
    """A + B + ... on one domain and one range."""

    parts: tuple[LinearOperator, ...]

    @property
    def domain(self) -> PyTree:
        return self.parts[0].domain

    @property
    def range(self) -> PyTree:
        return jax.tree.map(_joined, *(part.range for part in self.parts))

    def forward(self, x: Any) -> Any:
        return functools.reduce(_tree.add, (part.forward(x) for part in self.parts))

    def adjoint(self, y: Any) -> Any:
        adjoints = (part.adjoint(_tree.match_real(y, part.range)) for part in self.parts)
        return functools.reduce(_tree.add, adjoints)

    def subset(self, i: Any, n: int) -> LinearOperator:
        return Sum(tuple(part.subset(i, n) for part in self.parts))


@operator
class Scaled(LinearOperator):
    """C·A for a scalar c, real or complex, itself differentiable."""

    factor: Any
    inner: LinearOperator

    @property
    def domain(self) -> PyTree:
        return self.inner.domain

    @property
    def range(self) -> PyTree:
        return jax.eval_shape(_tree.scale, self.factor, self.inner.range)

    def forward(self, x: Any) -> Any:
        return _tree.scale(self.factor, self.inner.forward(x))

    def adjoint(self, y: Any) -> Any:
        scaled = _tree.scale(jnp.conj(self.factor), y)
        return self.inner.adjoint(_tree.match_real(scaled, self.inner.range))

    @property
    def gram(self) -> LinearOperator:
        if jax.tree.leaves(self.range) != jax.tree.leaves(self.inner.range):
            return Composition(self.H, self)  # a complex factor on a real range
        return Scaled(jnp.abs(self.factor) ** 2, self.inner.gram)

    def subset(self, i: Any, n: int) -> LinearOperator:
        return Scaled(self.factor, self.inner.subset(i, n))


@operator
class Stack(LinearOperator):
    """x ↦ (A₁ x, A₂ x, ...): one domain, a tuple of ranges."""

    parts: tuple[LinearOperator, ...]

    @property
    def domain(self) -> PyTree:
        return self.parts[0].domain

    @property
    def range(self) -> PyTree:
        return tuple(part.range for part in self.parts)

    def forward(self, x: Any) -> Any:
        return tuple(part.forward(x) for part in self.parts)

    def adjoint(self, y: Any) -> Any:
        adjoints = (part.adjoint(yi) for part, yi in zip(self.parts, y, strict=True))
        return functools.reduce(_tree.add, adjoints)

    @property
    def gram(self) -> LinearOperator:
        return Sum(tuple(part.gram for part in self.parts))

    def subset(self, i: Any, n: int) -> LinearOperator:
        return Stack(tuple(part.subset(i, n) for part in self.parts))


@operator
class BlockDiagonal(LinearOperator):
    """(x₁, x₂, ...) ↦ (A₁ x₁, A₂ x₂, ...)."""

    parts: tuple[LinearOperator, ...]

    @property
    def domain(self) -> PyTree:
        return tuple(part.domain for part in self.parts)

    @property
    def range(self) -> PyTree:
        return tuple(part.range for part in self.parts)

    def forward(self, x: Any) -> Any:
        return tuple(part.forward(xi) for part, xi in zip(self.parts, x, strict=True))

    def adjoint(self, y: Any) -> Any:
        return tuple(part.adjoint(yi) for part, yi in zip(self.parts, y, strict=True))

    @property
    def gram(self) -> LinearOperator:
        return BlockDiagonal(tuple(part.gram for part in self.parts))

    def subset(self, i: Any, n: int) -> LinearOperator:
        return BlockDiagonal(tuple(part.subset(i, n) for part in self.parts))


def stack(parts: Sequence[LinearOperator]) -> LinearOperator:
    """Operators on one domain as one operator with a tuple of measurements.

    Raises:
        ValueError: `parts` is empty or the domains differ.
    """
    if not parts:
        raise ValueError("`parts` is empty: pass at least one operator")
    for part in parts[1:]:
        _check_compatible("stack", "the first domain", parts[0].domain, "another", part.domain)
    return Stack(tuple(parts))


def block_diagonal(parts: Sequence[LinearOperator]) -> LinearOperator:
    """Operators side by side: a tuple of images to a tuple of measurements.

    Raises:
        ValueError: `parts` is empty.
    """
    if not parts:
        raise ValueError("`parts` is empty: pass at least one operator")
    return BlockDiagonal(tuple(parts))


def _joined(*structs: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(structs[0].shape, jnp.result_type(*(s.dtype for s in structs)))


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


def _check_compatible(what: str, left: str, a: PyTree, right: str, b: PyTree) -> None:
    shapes = [[s.shape for s in jax.tree.leaves(t)] for t in (a, b)]
    if jax.tree.structure(a) != jax.tree.structure(b) or shapes[0] != shapes[1]:
        raise ValueError(f"`{what}`: {left} is {a}, but {right} is {b}")
