"""New functionals out of old ones, with the value, gradient and proximal map that follow.

    c f             prox_{t}      = prox_{ct f}                                            (1)
    f(· − s)        prox_{t}(x)   = s + prox_{t f}(x − s)                                  (2)
    f(W ·)          prox_{t}(x)   = x + Wᴴ(prox_{νt f}(Wx) − Wx) / ν   if WWᴴ = ν I        (3)
    f + ½w‖·‖²      prox_{t}(x)   = prox_{t f / (1 + tw)}(x / (1 + tw))                    (4)
    f + box         prox_{t}(x)   = clip(prox_{t f}(x))   f convex and elementwise, x real (5)
    f₁(x₁) + f₂(x₂) prox_{t}      = (prox_{t f₁}, prox_{t f₂})                             (6)

All are exact. What else belongs to f (its subset, curvature, normal equations, a random part)
passes through. Other sums have no proximal map here: give their terms to a splitting method.

Source: Combettes and Pesquet, Proximal splitting methods in signal processing (2011), table 10.1.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import LinearOperator, component, pytree, stack, tree
from jaxrecon.core.operators._blocks import Stack
from jaxrecon.functionals._functional import Functional, subsets
from jaxrecon.functionals._norms import Box
from jaxrecon.functionals._quadratic import SquaredL2


class Wrapper(Functional):
    """What a functional made of one other takes over from it unchanged."""

    inner: Any

    @property
    def smooth(self) -> bool:
        return self.inner.smooth

    @property
    def fidelity(self) -> bool:
        return self.inner.fidelity

    @property
    def convex(self) -> bool:
        return self.inner.convex

    @property
    def elementwise(self) -> bool:
        return self.inner.elementwise


@pytree
class Scaled(Wrapper):
    """C·f for a positive scalar c, equation (1); written ``c * f``."""

    factor: Any
    inner: Any

    def __call__(self, x: PyTree) -> Array:
        return self.factor * self.inner(x)

    def grad(self, x: PyTree) -> PyTree:
        return tree.scale(self.factor, self.inner.grad(x))

    def prox(self, x: PyTree, step: Any) -> PyTree:
        return self.inner.prox(x, self.factor * step)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return jnp.sqrt(self.factor) * self.inner.curvature_root(A)

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        G, b = self.inner.normal(A)
        return self.factor * G, tree.scale(self.factor, b)

    def subset(self, i: Any, n: int) -> "Scaled":
        return Scaled(self.factor, self.inner.subset(i, n))

    def randomised(self, key: Key[Array, ""]) -> "Scaled":
        return Scaled(self.factor, self.inner.randomised(key))


@pytree
class Sum(Functional):
    """F + g + ... on one space, with the proximal maps of equations (4) and (5); ``f + g``."""

    terms: tuple[Any, ...]

    @property
    def smooth(self) -> bool:
        return all(f.smooth for f in self.terms)

    @property
    def fidelity(self) -> bool:
        return any(f.fidelity for f in self.terms)

    @property
    def convex(self) -> bool:
        return all(f.convex for f in self.terms)

    @property
    def elementwise(self) -> bool:
        return all(f.elementwise for f in self.terms)

    def __call__(self, x: PyTree) -> Array:
        return functools.reduce(jnp.add, [f(x) for f in self.terms])

    def grad(self, x: PyTree) -> PyTree:
        """The sum of the gradients.

        Raises:
            ValueError: one of the terms is not smooth.
        """
        return functools.reduce(tree.add, [f.grad(x) for f in self.terms])

    def prox(self, x: PyTree, step: Any) -> PyTree:
        """Exact for one term plus any number of squared norms and, if it is elementwise, boxes.

        Raises:
            ValueError: the terms are others.
        """
        weights, boxes, rest = _sorted(self.terms)
        if len(rest) > 1 or (boxes and not all(f.convex and f.elementwise for f in rest)):
            names = " + ".join(type(f).__name__ for f in self.terms)
            raise ValueError(
                f"`{names}` has no proximal map in closed form: give its terms to a splitting "
                "method one by one"
            )
        shrink = 1 / (1 + step * sum(weights, 0.0))
        x = jax.tree.map(lambda a: tree.weak(shrink, a) * a, x)
        for f in rest:
            x = f.prox(x, step * shrink)
        return functools.reduce(lambda x, box: box.prox(x, step), boxes, x)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return stack([f.curvature_root(A) for f in self.terms])

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        return _total([f.normal(A) for f in self.terms])

    def subset(self, i: Any, n: int) -> "Sum":
        """The fidelities' parts, and an n-th of the other terms."""
        if not self.fidelity:
            raise ValueError("`Sum` has no subsets: none of its terms carries data")
        return Sum(tuple(f.subset(i, n) if f.fidelity else Scaled(1 / n, f) for f in self.terms))

    def randomised(self, key: Key[Array, ""]) -> "Sum":
        return Sum(_randomised(self.terms, key))


@pytree
class Translated(Wrapper):
    """f(x − s), equation (2)."""

    inner: Any
    shift: Any

    def __call__(self, x: PyTree) -> Array:
        return self.inner(tree.sub(x, self.shift))

    def grad(self, x: PyTree) -> PyTree:
        return self.inner.grad(tree.sub(x, self.shift))

    def prox(self, x: PyTree, step: Any) -> PyTree:
        return tree.add(self.inner.prox(tree.sub(x, self.shift), step), self.shift)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return self.inner.curvature_root(A)

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        G, _ = self.inner.normal(A)
        return G, tree.scale(-1.0, A.H(self.inner.grad(tree.scale(-1.0, self.shift))))

    def subset(self, i: Any, n: int) -> "Translated":
        shift = jax.tree.map(lambda s: subsets(i, n, s)[0], self.shift)
        return Translated(self.inner.subset(i, n), shift)

    def randomised(self, key: Key[Array, ""]) -> "Translated":
        return Translated(self.inner.randomised(key), self.shift)


@pytree
class Precomposed(Functional):
    """f(Wx) for a tight frame, WWᴴ = νI, with the proximal map of equation (3)."""

    inner: Any
    transform: Any
    nu: Any = 1.0

    @property
    def smooth(self) -> bool:
        return self.inner.smooth

    @property
    def convex(self) -> bool:
        return self.inner.convex

    def __call__(self, x: PyTree) -> Array:
        return self.inner(self.transform(x))

    def grad(self, x: PyTree) -> PyTree:
        return self.transform.H(self.inner.grad(self.transform(x)))

    def prox(self, x: PyTree, step: Any) -> PyTree:
        Wx = self.transform(x)
        change = tree.sub(self.inner.prox(Wx, self.nu * step), Wx)
        return tree.add_scaled(x, 1 / self.nu, self.transform.H(change))

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return self.inner.curvature_root(self.transform @ A)

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        return self.inner.normal(self.transform @ A)

    def randomised(self, key: Key[Array, ""]) -> "Precomposed":
        return Precomposed(self.inner.randomised(key), self.transform, self.nu)


@pytree
class Separable(Functional):
    """f₁(x₁) + f₂(x₂) + ... of a tuple, equation (6); steps are one for all or a tuple.

    Behind a stack of operators it is the fidelity of several measurements.
    """

    parts: tuple[Any, ...]

    @property
    def smooth(self) -> bool:
        return all(f.smooth for f in self.parts)

    @property
    def fidelity(self) -> bool:
        return all(f.fidelity for f in self.parts)

    @property
    def convex(self) -> bool:
        return all(f.convex for f in self.parts)

    def __call__(self, x: tuple) -> Array:
        return functools.reduce(jnp.add, [f(xi) for f, xi in self._zip(x)])

    def grad(self, x: tuple) -> tuple:
        return tuple(f.grad(xi) for f, xi in self._zip(x))

    def prox(self, x: tuple, step: Any) -> tuple:
        steps = step if isinstance(step, tuple) else (step,) * len(self.parts)
        return tuple(f.prox(xi, t) for (f, xi), t in zip(self._zip(x), steps, strict=True))

    def conjugate_prox(self, x: tuple, step: Any) -> tuple:
        steps = step if isinstance(step, tuple) else (step,) * len(self.parts)
        pairs = zip(self._zip(x), steps, strict=True)
        return tuple(f.conjugate_prox(xi, t) for (f, xi), t in pairs)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return stack([f.curvature_root(Ai) for f, Ai in self._zip(_components(A))])

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        return _total([f.normal(Ai) for f, Ai in self._zip(_components(A))])

    def subset(self, i: Any, n: int) -> "Separable":
        return Separable(tuple(f.subset(i, n) for f in self.parts))

    def randomised(self, key: Key[Array, ""]) -> "Separable":
        return Separable(_randomised(self.parts, key))

    def _zip(self, x: tuple) -> list[tuple[Any, Any]]:
        if len(x) != len(self.parts):
            raise ValueError(f"`x` has {len(x)} parts, expected {len(self.parts)}")
        return list(zip(self.parts, x, strict=True))


def translated(f: Functional, shift: PyTree) -> Functional:
    """f(x − shift), equation (2).

    Example:
        >>> from jaxrecon.functionals import L1
        >>> translated(L1(), jnp.array([1.0])).prox(jnp.array([1.2]), 0.5).tolist()
        [1.0]
    """
    return Translated(f, shift)


def precomposed(f: Functional, W: LinearOperator, *, nu: Any = None) -> Functional:
    """f(Wx) for a W with WWᴴ = νI: orthogonal transforms, unitary FFTs, orthogonal rows.

    The transpose matters: a redundant frame has WᴴW = I instead, and no exact proximal map here;
    give the primal-dual solver the term ``(f, W)``.

    Args:
        f: the functional of Wx.
        W: the transform.
        nu: ν, found by applying W and its adjoint to a random y if None.

    Raises:
        ValueError: `nu` is None and WWᴴ is not a multiple of the identity.

    Example:
        >>> from jaxrecon.core import fft
        >>> from jaxrecon.functionals import L1
        >>> f = precomposed(L1(0.5), fft(jnp.zeros(4, complex)))
        >>> f.prox(jnp.ones(4, complex), 1.0).real.round(2).tolist()
        [0.75, 0.75, 0.75, 0.75]
    """
    return Precomposed(f, W, _tightness(W) if nu is None else nu)


def separable(parts: Sequence[Functional]) -> Functional:
    """f₁(x₁) + f₂(x₂) + ... on tuples, equation (6).

    Example:
        >>> from jaxrecon.functionals import L1, SquaredL2
        >>> f = separable((L1(), SquaredL2()))
        >>> [p.tolist() for p in f.prox((jnp.array([3.0]), jnp.array([3.0])), 1.0)]
        [[2.0], [1.5]]
    """
    return Separable(tuple(parts))


def _sorted(terms: tuple[Any, ...]) -> tuple[list[Any], list[Any], list[Any]]:
    """The weights of squared norms, the boxes, and the other terms of a sum."""
    weights, boxes, rest = [], [], []
    for f in terms:
        if isinstance(f, Scaled) and isinstance(f.inner, SquaredL2):
            weights.append(f.factor * f.inner.weight)
        elif isinstance(f, SquaredL2):
            weights.append(f.weight)
        else:
            (boxes if isinstance(f, Box) else rest).append(f)
    return weights, boxes, rest


def _total(equations: list[tuple[LinearOperator, PyTree]]) -> tuple[LinearOperator, PyTree]:
    operators, sides = zip(*equations, strict=True)
    return functools.reduce(lambda G, H: G + H, operators), functools.reduce(tree.add, sides)


def _randomised(parts: tuple[Any, ...], key: Key[Array, ""]) -> tuple[Any, ...]:
    keys = jax.random.split(key, len(parts))
    return tuple(f.randomised(k) for f, k in zip(parts, keys, strict=True))


def _components(A: LinearOperator) -> tuple[LinearOperator, ...]:
    """The operators to the single entries of A's range."""
    if isinstance(A, Stack):
        return A.parts
    return tuple(component(A.range, i) @ A for i in range(len(A.range)))


def _tightness(W: LinearOperator) -> Array:
    """The ν of WWᴴ = νI, from a random vector."""
    y = tree.random_normal(jax.random.key(0), W.range)
    image = W(W.H(y))
    nu = tree.dot(y, image) / tree.sum_of_squares(y)
    error = tree.norm(tree.add_scaled(image, -nu, y)) / tree.norm(image)
    if not isinstance(error, jax.core.Tracer) and not float(error) < 1e-4:
        raise ValueError(
            f"`W` is not a tight frame: WWᴴ differs from {float(nu):.3g}·I by {float(error):.1e}. "
            "Give the primal-dual solver the term `(f, W)` instead"
        )
    return nu
