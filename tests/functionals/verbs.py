"""What the registry asks of every functional; `test_verbs.py` shows each to fail on a wrong one.

A verb takes the functional, its `Case` and a dtype. What a functional does not have (a proximal
map, a gradient) is not asked of it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.core import diagonal, identity, tree
from tests.functionals.draws import SHAPE, normal, positive

STEP = 0.8

# One compilation for all verbs.
value = jax.jit(lambda f, x: f(x))
gradient = jax.jit(lambda f, x: f.grad(x))
proximal = jax.jit(lambda f, x, step: f.prox(x, step))
dual_proximal = jax.jit(lambda f, x, step: f.conjugate_prox(x, step))


@jax.jit
def _objectives(f, candidates, x):
    return jax.vmap(lambda u: f(u) + tree.sum_of_squares(u - x) / (2 * STEP))(candidates)


def check_prox_minimises(f, case, dtype):
    """No direction, small or large, improves on the proximal point; nor does any single entry."""
    if not has_prox(f):
        return
    x = case.point(dtype, 2)
    p = proximal(f, x, STEP)
    directions = jnp.stack([normal(dtype, fold=100 + i) * 10.0 ** -(i % 6) for i in range(60)])
    lines = [(1 - t) * p + t * r for r in (x, jnp.zeros_like(x)) for t in (1e-3, 1e-2, 0.1, 1.0)]
    rivals = [p + directions, jnp.stack(lines)] + ([_entries(p)] if f.elementwise else [])
    best, *others = np.asarray(_objectives(f, jnp.concatenate([p[None], *rivals]), x))
    gain = best - np.min(others)
    assert np.isfinite(best), "the proximal point is outside the domain"
    assert gain <= case.tol * max(1, abs(best)), f"a rival is better by {gain:.1e}"


def _entries(p):
    """P with one entry at a time replaced by every value of a grid of the line, or the plane."""
    radius = jnp.linspace(-6, 6, 241)
    phases = jnp.exp(1j * jnp.linspace(0, jnp.pi, 12)) if jnp.iscomplexobj(p) else jnp.ones(1)
    values = (radius[:, None] * phases).ravel().astype(p.dtype)
    flat = p.ravel()
    rows = [jnp.tile(flat, (values.size, 1)).at[:, i].set(values) for i in (0, 5, 9, 14, 20)]
    return jnp.concatenate(rows).reshape(-1, *p.shape)


def check_optimality(f, case, dtype):
    """(x − p)/t is a subgradient at p of a convex f, the gradient of another."""
    if not has_prox(f):
        return
    x = case.point(dtype, 2)
    p = proximal(f, x, STEP)
    slope = (x - p) / STEP
    if not f.convex:
        np.testing.assert_allclose(gradient(f, p), slope, atol=1e-7)
        return
    here = float(value(f, p))
    for fold in range(5):
        u = case.point(dtype, 30 + fold)
        d = 1e-4 * normal(dtype, fold=40 + fold)  # so near that curvature hides no wrong slope
        for point in (u, proximal(f, u, 0.3), proximal(f, p + 0.01 * u, 1e-3), p + d, p - d):
            gap = float(value(f, point) - here - tree.dot(slope, point - p))
            assert gap >= -10 * case.tol * (1 + abs(here)), f"no subgradient: {gap:.1e}"


def check_moreau(f, case, dtype):
    """The maps of f and of its conjugate decompose x, and both are firmly non-expansive."""
    if not has_prox(f) or not f.convex:
        return
    points = [case.point(dtype, i) for i in (3, 4)]
    p = [proximal(f, x, STEP) for x in points]
    q = [dual_proximal(f, x / STEP, 1 / STEP) for x in points]
    for x, primal, dual in zip(points, p, q, strict=True):
        np.testing.assert_allclose(primal + STEP * dual, x, rtol=1e-11, atol=1e-11)
    for pair, scale in ((p, 1.0), (q, STEP)):
        moved, through = points[0] - points[1], scale * (pair[0] - pair[1])
        excess = tree.sum_of_squares(through) - tree.dot(through, moved)
        assert float(excess) <= 100 * case.tol, f"not firmly non-expansive: {float(excess):.1e}"


def check_gradient(f, case, dtype):
    """`grad` is the direction of steepest ascent and conj(jax.grad)."""
    if not f.smooth:
        return
    x, d, h = case.point(dtype, 4), normal(dtype, fold=5), 1e-6
    g = gradient(f, x)
    numeric = (value(f, x + h * d) - value(f, x - h * d)) / (2 * h)
    np.testing.assert_allclose(tree.dot(g, d), numeric, rtol=1e-6, atol=1e-8)
    derived = jnp.conj(jax.grad(value, argnums=1)(f, x))
    np.testing.assert_allclose(g, derived, rtol=1e-9, atol=1e-9 + case.tol)


def check_curvature(f, case, dtype):
    """‖Bd‖² bounds the second derivative of f∘A along d, for two operators A."""
    x, d, h = case.point(dtype, 6), normal(dtype, fold=7), 1e-5
    for A in (identity(x), diagonal(positive(dtype, fold=8), x)):
        try:
            root = f.curvature_root(A)
        except ValueError:
            return
        bound = float(tree.sum_of_squares(root(d)))
        slope = lambda u, A=A: A.H(gradient(f, A(u)))  # noqa: E731
        second = float(tree.dot(slope(x + h * d) - slope(x - h * d), d)) / (2 * h)
        assert second <= bound * (1 + 1e-6) + 1e-8, f"curvature {second:.6g}, bound {bound:.6g}"


def check_normal(f, case, dtype):
    """A quadratic's normal equations are its gradient, and its curvature root is exact."""
    x = case.point(dtype, 9)
    A = diagonal(positive(dtype, fold=8), x)
    try:
        G, b = f.normal(A)
    except ValueError:
        return
    np.testing.assert_allclose(G(x) - b, A.H(f.grad(A(x))), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(f.curvature_root(A).gram(x), G(x), rtol=1e-9, atol=1e-9)


def check_transforms(f, case, dtype):
    """Value, gradient and proximal map under vmap equal a loop."""
    batch = np.stack([case.point(dtype, i) for i in (10, 11)])
    calls = [value]
    calls += [lambda f, x: proximal(f, x, STEP)] if has_prox(f) else []
    calls += [gradient] if f.smooth else []
    together = lambda f, x: tuple(call(f, x) for call in calls)  # noqa: E731
    got = jax.jit(jax.vmap(together, (None, 0)))(f, batch)
    for a, b in zip(got, together(f, batch[1]), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-9, atol=1e-9)


def check_array_step(f, case, dtype):
    """An elementwise functional takes a step of each entry's own."""
    if not f.elementwise or not has_prox(f):
        return
    x, steps = case.point(dtype, 12), positive(dtype, fold=13)
    got = proximal(f, x, steps)
    for i in ((0, 0), (1, 3), (3, 5)):
        np.testing.assert_allclose(got[i], proximal(f, x, steps[i])[i], rtol=1e-9, atol=1e-12)


def check_prox_derivative(f, case, dtype):
    """The proximal map's derivative in x, step and every array of f, by central differences."""
    if not has_prox(f):
        return
    w = normal(dtype, fold=16)
    leaves, structure = jax.tree.flatten((f, case.point(dtype, 15), jnp.asarray(STEP)))
    chosen = [i for i, a in enumerate(leaves) if jnp.issubdtype(jnp.result_type(a), jnp.inexact)]
    start = [np.asarray(leaves[i]) for i in chosen]

    def along(values):
        full = dict(enumerate(leaves)) | dict(zip(chosen, values, strict=True))
        f, x, step = jax.tree.unflatten(structure, list(full.values()))
        return tree.dot(w, proximal(f, x, step))

    along = jax.jit(jax.value_and_grad(along))
    gradient = along(start)[1]
    for i, a in enumerate(start):
        d, h = np.asarray(normal(a.dtype, a.shape, 17)), 1e-6
        ends = [along([*start[:i], a + s * h * d, *start[i + 1 :]])[0] for s in (1, -1)]
        numeric = float(ends[0] - ends[1]) / (2 * h)
        exact = float(np.vdot(np.conj(gradient[i]), d).real)
        error = abs(exact - numeric) / max(1.0, abs(numeric))
        assert error < max(1e-6, 1e3 * case.tol), f"derivative {exact:.8g}, numeric {numeric:.8g}"


def check_precision(f, case, dtype):
    """Single precision in, single precision out, though double is allowed."""
    x = case.point(dtype, 18)
    assert jax.eval_shape(value, f, x).dtype == jnp.float32
    for step in (0.5, np.float32(0.5)):
        assert not has_prox(f) or jax.eval_shape(proximal, f, x, step).dtype == x.dtype
    assert not f.smooth or jax.eval_shape(gradient, f, x).dtype == x.dtype


def check_subset(f, case, dtype):
    """The parts of a fidelity on the parts of x add up to the whole."""
    if not f.fidelity:
        return
    x = case.point(dtype, 19)
    parts = [f.subset(i, 2)(x.reshape(-1, 2, *SHAPE[1:])[:, i]) for i in range(2)]
    np.testing.assert_allclose(sum(parts), f(x), rtol=1e-9)


def has_prox(f) -> bool:
    """Whether the functional has a proximal map at all."""
    try:
        jax.eval_shape(f.prox, jax.ShapeDtypeStruct(SHAPE, "float32"), 1.0)
    except ValueError as error:
        if "no proximal map" in str(error):
            return False
    except TypeError:
        pass  # complex data in a functional asked about real x
    return True


VERBS = {
    "prox minimises": check_prox_minimises,
    "optimality": check_optimality,
    "moreau": check_moreau,
    "gradient": check_gradient,
    "curvature": check_curvature,
    "normal": check_normal,
    "array step": check_array_step,
    "subset": check_subset,
}
# Slow to compile: asked in complex numbers only, where a functional takes them.
SLOW_VERBS = {"transforms": check_transforms, "prox derivative": check_prox_derivative}
