"""Vector-space maths on pytrees. The inner product is Re⟨a, b⟩ = Re Σ conj(a) b, so that real and
complex leaves may stand side by side and every adjoint is taken with respect to it.
"""

import functools
import operator as op
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree


def dot(a: PyTree, b: PyTree) -> Array:
    """Re⟨a, b⟩ over all leaves, a real scalar."""
    return _total(jax.tree.map(_leaf_dot, a, b))


def sum_of_squares(a: PyTree) -> Array:
    """‖a‖² over all leaves, a real scalar."""
    return dot(a, a)


def norm(a: PyTree) -> Array:
    """‖a‖ over all leaves; its gradient at zero is zero rather than NaN."""
    return safe_sqrt(sum_of_squares(a))


def safe_sqrt(squares: Array) -> Array:
    """√ with gradient zero, not NaN, at zero; NaN stays NaN."""
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))


def add(a: PyTree, b: PyTree) -> PyTree:
    """A + b, leaf by leaf."""
    return jax.tree.map(op.add, a, b)


def sub(a: PyTree, b: PyTree) -> PyTree:
    """A − b, leaf by leaf."""
    return jax.tree.map(op.sub, a, b)


def scale(c: Any, a: PyTree) -> PyTree:
    """C·a for a scalar c, keeping each leaf's precision."""
    return jax.tree.map(lambda x: weak(c, x) * x, a)


def add_scaled(a: PyTree, c: Any, b: PyTree) -> PyTree:
    """A + c·b for a scalar c, keeping each leaf's precision."""
    return jax.tree.map(lambda x, y: x + weak(c, y) * y, a, b)


def zeros(like: PyTree) -> PyTree:
    """Zeros of the shapes and dtypes of `like` (arrays or `jax.ShapeDtypeStruct`)."""
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like)


def random_normal(key: Key[Array, ""], like: PyTree) -> PyTree:
    """Standard normal leaves of the shapes and dtypes of `like`; complex ones have E|z|² = 1."""
    leaves, tree = jax.tree.flatten(like)
    keys = jax.random.split(key, max(len(leaves), 1))
    draws = [jax.random.normal(k, s.shape, s.dtype) for k, s in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(tree, draws)


def standard_noise(key: Key[Array, ""], like: PyTree) -> PyTree:
    """Normal noise of deviation one in every real number, also in both parts of complex ones."""
    draw = random_normal(key, like)
    return jax.tree.map(lambda n: jnp.sqrt(2.0) * n if jnp.iscomplexobj(n) else n, draw)


def relative_change(new: PyTree, old: PyTree) -> Array:
    """‖new − old‖ / ‖new‖, zero for two zeros."""
    size, change = norm(new), norm(sub(new, old))
    return change / (size + (size == 0))


def structs(a: PyTree) -> PyTree:
    """`jax.ShapeDtypeStruct` of every leaf."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), a)


def where(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """A where the scalar `condition` holds, else b."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def match_real(x: PyTree, like: PyTree) -> PyTree:
    """Drops the imaginary part of those leaves whose counterpart in `like` is real.

    The adjoint with respect to Re⟨·,·⟩ of an operator on a real domain is real.
    """
    return jax.tree.map(lambda a, s: a if _is_complex(s) else a.real, x, like)


def to_real(a: PyTree) -> PyTree:
    """Complex leaves as (real, imaginary) pairs: the real vector space behind Re⟨·,·⟩."""
    return jax.tree.map(lambda x: (x.real, x.imag) if _is_complex(x) else x, a)


def from_real(a: PyTree, like: PyTree) -> PyTree:
    """The inverse of `to_real`, for a tree shaped as `like`."""
    return jax.tree.map(lambda s, x: jax.lax.complex(*x) if _is_complex(s) else x, like, a)


def weak(c: Any, x: Array) -> Array:
    """The scalar `c` in the precision of `x`, complex only where one of the two is."""
    real = jnp.finfo(x.dtype).dtype
    return jnp.asarray(c, jnp.result_type(real, jnp.complex64) if jnp.iscomplexobj(c) else real)


def _is_complex(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.complexfloating)


def _leaf_dot(a: Array, b: Array) -> Array:
    # Two real sums: XLA fuses them, where a complex dot product would go to a matrix routine.
    if _is_complex(a) and _is_complex(b):
        return jnp.sum(a.real * b.real + a.imag * b.imag)
    return jnp.sum((a * b).real)


def _total(tree: PyTree) -> Array:
    leaves = jax.tree.leaves(tree)
    return functools.reduce(op.add, leaves) if leaves else jnp.zeros(())
