"""Operators next to each other: one image to several measurements, several to several."""

import functools
from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._pytree import operator, static
from jaxrecon.core.operators._abstract import check_compatible
from jaxrecon.core.operators._operator import LinearOperator, Sum


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

    def gram_spectrum(self) -> Array | None:
        spectra = [part.gram_spectrum() for part in self.parts]
        known = [s for s in spectra if s is not None]
        return sum(known[1:], known[0]) if len(known) == len(spectra) else None

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

    def shifted_inverse(self, shift: Any) -> LinearOperator | None:
        inverses = [part.shifted_inverse(shift) for part in self.parts]
        known = tuple(inverse for inverse in inverses if inverse is not None)
        return BlockDiagonal(known) if len(known) == len(inverses) else None

    def subset(self, i: Any, n: int) -> LinearOperator:
        return BlockDiagonal(tuple(part.subset(i, n) for part in self.parts))


@operator
class Component(LinearOperator):
    """(x₁, x₂, ...) ↦ x_i; its adjoint puts zeros in the other places."""

    structs: tuple = static()
    index: int = static()

    @property
    def domain(self) -> PyTree:
        return self.structs

    @property
    def range(self) -> PyTree:
        return self.structs[self.index]

    def forward(self, x: tuple) -> Any:
        return x[self.index]

    def adjoint(self, y: Any) -> tuple:
        return tuple(y if i == self.index else _tree.zeros(s) for i, s in enumerate(self.structs))


def component(structs: tuple[Any, ...], index: int) -> LinearOperator:
    """(x₁, x₂, ...) ↦ x_i on tuples of arrays, or structs, like `structs`.

    ``A @ component(structs, 0)`` lets a forward model of images act on (image, further unknowns).

    Raises:
        ValueError: there is no such part.
    """
    if not 0 <= index < len(structs):
        raise ValueError(f"`index` is {index}, expected 0 to {len(structs) - 1}")
    return Component(_tree.structs(tuple(structs)), index)


def stack(parts: Sequence[LinearOperator]) -> LinearOperator:
    """Operators on one domain as one operator with a tuple of measurements.

    Raises:
        ValueError: `parts` is empty or the domains differ.
    """
    if not parts:
        raise ValueError("`parts` is empty: pass at least one operator")
    for part in parts[1:]:
        check_compatible("stack", "the first domain", parts[0].domain, "another", part.domain)
    return Stack(tuple(parts))


def block_diagonal(parts: Sequence[LinearOperator]) -> LinearOperator:
    """Operators side by side: a tuple of images to a tuple of measurements.

    Raises:
        ValueError: `parts` is empty.
    """
    if not parts:
        raise ValueError("`parts` is empty: pass at least one operator")
    return BlockDiagonal(tuple(parts))
