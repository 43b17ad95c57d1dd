"""The derivative rule of linear pairs: the only place that knows how JAX pairs cotangents.

A projector or a NUFFT is a family of real-linear maps A(p), p an array pytree (poses, trajectory).
Its forward and its adjoint are written by hand as two gathers; this module makes each the other's
derivative, so that gradients of gradients work and nothing is ever transposed into a scatter.

Conventions, checked against explicit matrices in the tests:

1. JAX's cotangents pair without conjugation. For y = A x the cotangent of x is
   Aᵀ ct = conj(Aᴴ conj(ct)); for x = Aᴴ y the cotangent of y is conj(A conj(ct)).
2. Both maps share one bilinear form, b(p, x, w) = Re⟨w, A(p) x⟩. One `pullback` gives its
   derivative in p, and serves the forward (w = conj(ct)) and the adjoint (x = conj(ct)) alike.
3. Under `shard_map` an argument may be replicated while another varies over a mesh axis. Every
   argument is first lifted to the union of the varying axes (`jax.lax.pcast`), whose own transpose
   is the missing psum. Without that a custom rule raises there, or is silently wrong.

There is no forward mode: code above uses `A` and `A.H`, never `jvp` or `linear_transpose` of
a pair.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

Map = Callable[[Any, PyTree, PyTree], PyTree]


def linearised(function: Callable[[Any], Any], x: PyTree) -> tuple[PyTree, Callable[[Any], Any]]:
    """The value f(x), and v ↦ (∂f/∂x)ᴴ v in Re⟨·,·⟩, a pytree; by JAX's reverse mode.

    Example:
        >>> value, pull = linearised(lambda x: x**2, jnp.array([1.0, 3.0]))
        >>> pull(jnp.ones(2)).tolist()
        [2.0, 6.0]
    """
    value, pull = jax.vjp(function, x)
    return value, jax.tree_util.Partial(_pulled, pull)


def _pulled(pull: Any, v: PyTree) -> PyTree:
    """Convention 1."""
    return jax.tree.map(jnp.conj, pull(jax.tree.map(jnp.conj, v))[0])


def pair(
    forward: Map, adjoint: Map, pullback: Callable[[Any, PyTree, PyTree, PyTree], PyTree]
) -> tuple[Map, Map]:
    """Makes a forward and an adjoint each other's custom derivative rule.

    Args:
        forward: ``forward(spec, arrays, x) -> y``, linear in x; spec is static and hashable.
        adjoint: ``adjoint(spec, arrays, y) -> x``, its exact adjoint under Re⟨·,·⟩.
        pullback: ``pullback(spec, arrays, x, w)``, the cotangents that `jax.vjp` would give for
            ``arrays`` of the real scalar Re⟨w, A x⟩. Under `jit` it runs only where its result is
            used: a gradient in x alone does not pay for it.

    Returns:
        ``apply(spec, arrays, x)`` and ``apply_adjoint(spec, arrays, y)``: compiled with spec
        static, differentiable in arrays and in their argument, to any order that the three
        functions support in reverse mode.
    """
    forward, adjoint = (jax.jit(f, static_argnums=0) for f in (forward, adjoint))
    pullback = jax.jit(pullback, static_argnums=0)
    rule = functools.partial(jax.custom_vjp, nondiff_argnums=(0,))

    @rule
    def apply(spec, arrays, x):
        return forward(spec, arrays, x)

    @rule
    def apply_adjoint(spec, arrays, y):
        return adjoint(spec, arrays, y)

    def forward_cotangents(spec, residuals, ct):
        arrays, x = residuals
        w = _conj(ct)
        return pullback(spec, arrays, x, w), _conj(apply_adjoint(spec, arrays, w))

    def adjoint_cotangents(spec, residuals, ct):
        arrays, y = residuals
        x = _conj(ct)
        return pullback(spec, arrays, x, y), _conj(apply(spec, arrays, x))

    apply.defvjp(lambda *args: (apply(*args), args[1:]), forward_cotangents)
    apply_adjoint.defvjp(lambda *args: (apply_adjoint(*args), args[1:]), adjoint_cotangents)
    return _lifted(apply), _lifted(apply_adjoint)


def match_varying(value: PyTree, *references: PyTree) -> PyTree:
    """Lifts `value` to vary over every mesh axis that any reference varies over.

    Loops inside `shard_map` need it for the zeros they start from. Elsewhere it does nothing.
    """
    axes = frozenset().union(*(varying(leaf) for leaf in jax.tree.leaves(references)))
    return jax.tree.map(lambda leaf: _lift(leaf, axes), value)


def shared_sum(value: Array, like: PyTree) -> Array:
    """A sum over measurements, completed over the devices that share them.

    Inside `shard_map` those are the mesh axes over which the value varies while `like`, the image,
    does not. Elsewhere it does nothing.
    """
    axes = frozenset().union(*(varying(leaf) for leaf in jax.tree.leaves(like)))
    split = tuple(varying(value) - axes)
    return jax.lax.psum(value, split) if split else value


def _lifted(rule: Map) -> Map:
    @functools.wraps(rule)
    def call(spec: Hashable, arrays: PyTree, x: PyTree) -> PyTree:
        return rule(spec, *match_varying((arrays, x), arrays, x))

    return call


def varying(leaf: Any) -> frozenset:
    """Mesh axes over which an array, or the struct of one, differs from device to device."""
    typed = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
    return typed.manual_axis_type.varying if typed.manual_axis_type else frozenset()


def _lift(leaf: Any, axes: frozenset) -> Any:
    missing = tuple(axes - varying(leaf))
    return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf


def _conj(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.conj, tree)
