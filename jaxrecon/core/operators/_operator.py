"""Forward models as pure maps on pytrees: `Operator`, `LinearOperator` and their algebra.

An operator acts on one example; a batch is `jax.vmap(A)`. The adjoint is taken with respect to
Re⟨·,·⟩, so a real domain has a real adjoint. The algebra (`A @ B`, `A + B`, `c * A`, `A.H`,
`A.gram`, `stack`, `block_diagonal`) builds new operators out of old ones and calls nothing but
their forward and adjoint.
"""

import abc
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._pytree import operator, static
from jaxrecon.core.operators._abstract import Operator, check_compatible


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

    def gram_spectrum(self) -> Array | None:
        """Eigenvalues of AᴴA where it is a circular convolution, in the order of `jnp.fft.fftn`.

        Real, broadcastable to the domain, one array; None where AᴴA is not circular.
        """
        return None

    def shifted_inverse(self, shift: Any) -> "LinearOperator | None":
        """(AᴴA + shift)⁻¹ in closed form for a positive scalar shift, or None where there is none.

        Half of a proximal step: prox of t·½‖A·−y‖² at x is (AᴴA + 1/t)⁻¹ (Aᴴy + x/t).
        """
        spectrum = self.gram_spectrum()
        return None if spectrum is None else Circulant(1 / (spectrum + shift), self.domain)

    def __matmul__(self, other: "LinearOperator") -> "LinearOperator":
        if not isinstance(other, LinearOperator):
            raise TypeError(
                f"`A @ B` composes two operators, but B is a {type(other).__name__}: "
                "to apply an operator to an array write `A(x)`"
            )
        check_compatible("A @ B", "A's domain", self.domain, "B's range", other.range)
        return Composition(self, other)

    def __add__(self, other: "LinearOperator") -> "LinearOperator":
        check_compatible("A + B", "A's domain", self.domain, "B's domain", other.domain)
        check_compatible("A + B", "A's range", self.range, "B's range", other.range)
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

    def shifted_inverse(self, shift: Any) -> LinearOperator | None:
        """By Woodbury's identity, (I − A (AᴴA + s)⁻¹ Aᴴ) / s."""
        inverse = self.inner.shifted_inverse(shift)
        if inverse is None:
            return None
        A = self.inner
        through = Composition(A, Composition(inverse, self))
        return Scaled(1 / shift, Sum((Identity(self.domain), Scaled(-1.0, through))))


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

    def gram_spectrum(self) -> Array | None:
        return self.inner.gram_spectrum() if isinstance(self.outer.gram, Identity) else None

    def shifted_inverse(self, shift: Any) -> LinearOperator | None:
        if isinstance(self.outer.gram, Identity):
            return self.inner.shifted_inverse(shift)
        if not is_unitary(self.inner):
            return None
        inverse = self.outer.shifted_inverse(shift)
        if inverse is None:
            return None
        return Composition(self.inner.H, Composition(inverse, self.inner))

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

    def gram_spectrum(self) -> Array | None:
        spectrum = self.inner.gram_spectrum()
        if spectrum is None or not isinstance(self.gram, Scaled):
            return None
        return jnp.abs(self.factor) ** 2 * spectrum

    def shifted_inverse(self, shift: Any) -> LinearOperator | None:
        squared = jnp.abs(self.factor) ** 2
        inverse = self.inner.shifted_inverse(shift / squared)
        if inverse is None or not isinstance(self.gram, Scaled):
            return None
        return Scaled(1 / squared, inverse)

    def subset(self, i: Any, n: int) -> LinearOperator:
        return Scaled(self.factor, self.inner.subset(i, n))


@operator
class Identity(LinearOperator):
    """x ↦ x."""

    structs: PyTree = static()

    @property
    def domain(self) -> PyTree:
        return self.structs

    @property
    def range(self) -> PyTree:
        return self.structs

    def forward(self, x: Any) -> Any:
        return x

    def adjoint(self, y: Any) -> Any:
        return y

    @property
    def gram(self) -> LinearOperator:
        return self

    def gram_spectrum(self) -> Array | None:
        is_array = isinstance(self.structs, jax.ShapeDtypeStruct)
        return jnp.ones((), jnp.finfo(self.structs.dtype).dtype) if is_array else None

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return Scaled(1 / (1 + shift), self)


@operator
class Circulant(LinearOperator):
    """Circular convolution over all axes, by its real eigenvalues in the order of `jnp.fft.fftn`.

    Broadcastable to the domain; symmetric under k → −k where the domain is real. Its own adjoint.
    """

    spectrum: Array
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return self.struct

    def forward(self, x: Array) -> Array:
        shape = self.struct.shape
        spectrum = jnp.broadcast_to(self.spectrum, shape)
        if jnp.iscomplexobj(x):
            return jnp.fft.ifftn(spectrum * jnp.fft.fftn(x))
        half = spectrum[..., : shape[-1] // 2 + 1]
        return jnp.fft.irfftn(half * jnp.fft.rfftn(x), shape)

    def adjoint(self, y: Array) -> Array:
        return self.forward(y)

    def gram_spectrum(self) -> Array | None:
        return self.spectrum**2


def is_unitary(A: LinearOperator) -> bool:
    """Whether A is known to be an isometry between spaces of one size and kind."""
    sizes = [[(s.size, s.dtype) for s in jax.tree.leaves(side)] for side in (A.domain, A.range)]
    return isinstance(A.gram, Identity) and sizes[0] == sizes[1]


def _joined(*structs: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(structs[0].shape, jnp.result_type(*(s.dtype for s in structs)))
