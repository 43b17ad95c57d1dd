"""What the registry asks of every operator. `test_verbs.py` shows each to fail on a wrong one."""

import copy

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from jaxrecon import core
from jaxrecon.core import tree
from tests.tolerances import ADJOINT, DERIVATIVE, EQUAL, real_name, relative_error


def precision(A) -> str:
    return real_name(jax.tree.leaves(A.domain)[0].dtype)


def draws(A, key):
    """Random x in the domain and y in the range."""
    key_x, key_y = jax.random.split(key)
    return tree.random_normal(key_x, A.domain), tree.random_normal(key_y, A.range)


def check_adjoint(A, key):
    error = core.adjointness(A, key)
    assert error < ADJOINT[precision(A)], f"adjointness {error:.1e}"
    error = core.adjointness(A.H, key)
    assert error < ADJOINT[precision(A)], f"adjointness of A.H {error:.1e}"


def check_dense_transpose(A, key):
    """The matrix of A.H is the conjugate transpose of A's, entry by entry."""
    del key
    forward, adjoint = _real_matrix(A), _real_matrix(A.H)
    error = relative_error(adjoint, forward.T)
    assert error < 3 * ADJOINT[precision(A)], f"dense transpose {error:.1e}"


def check_linear(A, key):
    error = core.linearity(A, key)
    assert error < EQUAL[precision(A)], f"linearity {error:.1e}"


def check_shapes(A, key):
    """Domain and range tell the truth, and a wrong shape is refused by name."""
    x, y = draws(A, key)
    _same_structs(A(x), A.range)
    _same_structs(A.H(y), A.domain)
    wrong = jax.tree.map(lambda s: jnp.zeros((*s.shape, 2), s.dtype), A.domain)
    assert "`x`" in _refusal(A, wrong), "a wrong shape was accepted, or refused without its name"


def check_gram(A, key):
    """A.gram equals A.H A; a gram by another way than that may differ by what A promises, `eps`."""
    x, _ = draws(A, key)
    eps = getattr(getattr(A, "outer", A), "eps", 0.0)
    _equal(A.gram(x), A.H(A(x)), 10 * max(EQUAL[precision(A)], eps), "gram")


def check_closed_forms(A, key):
    """What A claims of its gram is true: its eigenvalues, and the inverse of gram + shift."""
    x, _ = draws(A, key)
    spectrum = A.gram_spectrum()
    if spectrum is not None:
        circulant = core.Circulant(spectrum, A.domain)
        _equal(circulant(x), A.gram(x), 10 * EQUAL[precision(A)], "gram spectrum")
    inverse = A.shifted_inverse(0.7)
    if inverse is not None:
        back = inverse(tree.add_scaled(A.gram(x), 0.7, x))
        _equal(back, x, 30 * EQUAL[precision(A)], "shifted inverse")
        _same_structs(back, A.domain)


def check_jit(A, key):
    """jit with the operator as an argument equals eager."""
    x, y = draws(A, key)
    _equal(jax.jit(lambda A, x: A(x))(A, x), A(x), EQUAL[precision(A)], "jit")
    _equal(jax.jit(lambda A, y: A.H(y))(A, y), A.H(y), EQUAL[precision(A)], "jit adjoint")


def check_vmap(A, key):
    """vmap over examples equals a loop, for the forward and the adjoint."""
    pairs = [draws(A, k) for k in jax.random.split(key, 3)]
    for apply, examples in ((A, [x for x, _ in pairs]), (A.H, [y for _, y in pairs])):
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *examples)
        loop = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(apply, examples))
        _equal(jax.vmap(apply)(batch), loop, EQUAL[precision(A)], "vmap")


def check_pytree(A, key):
    """Flattening and mapping give the same operator back; leaves are arrays."""
    x, _ = draws(A, key)
    again = jax.tree.unflatten(jax.tree.structure(A), jax.tree.leaves(A))
    _equal(again(x), A(x), 0.0, "pytree round trip")
    jax.eval_shape(lambda A: A(tree.zeros(A.domain)), A)


def check_store(A, key, folder):
    x, _ = draws(A, key)
    core.save(folder / "A.npz", A)
    _equal(core.load(folder / "A.npz")(x), A(x), 0.0, "save and load")


def check_traces(A, key):
    """An equal operator with new array data does not trace or compile again."""
    x, _ = draws(A, key)
    count = 0

    @jax.jit
    def apply(A, x):
        nonlocal count
        count += 1
        return A(x)

    apply(A, x)
    apply(jax.tree.map(lambda leaf: 2 * leaf if _inexact(leaf) else leaf, copy.deepcopy(A)), x)
    assert count == 1, f"traced {count} times for one shape"


def check_gradients(A, key):
    """float64: gradients of ‖A x‖⁴ and ‖Aᴴ y‖⁴ in data and in the operator's own arrays."""
    x, y = draws(A, key)
    _check_derivative(lambda A, x: tree.sum_of_squares(A(x)) ** 2, (A, x), key)
    _check_derivative(lambda A, y: tree.sum_of_squares(A.H(y)) ** 2, (A, y), key)


def check_second_order(A, key):
    """float64: the gradient of ⟨∇_x f, v⟩, as training through a data-consistency step needs."""
    x, _ = draws(A, key)
    v = tree.random_normal(jax.random.fold_in(key, 1), A.domain)

    def slope(A, x):
        gradient = jax.grad(lambda x: tree.sum_of_squares(A(x)) ** 2)(x)
        return tree.dot(jax.tree.map(jnp.conj, gradient), v)

    _check_derivative(slope, (A, x), key)


def _check_derivative(f, arguments, key):
    """One random directional derivative against a central difference."""
    leaves, structure = jax.tree.flatten(arguments)
    chosen = [i for i, leaf in enumerate(leaves) if _inexact(leaf)]
    keys = jax.random.split(key, len(chosen))
    point = [jnp.asarray(leaves[i]) for i in chosen]
    direction = [
        jax.random.normal(k, jnp.shape(p), p.dtype) * _size(p)
        for k, p in zip(keys, point, strict=True)
    ]

    def along(point):
        merged = list(leaves)
        for i, leaf in zip(chosen, point, strict=True):
            merged[i] = leaf
        return f(*jax.tree.unflatten(structure, merged))

    along = jax.jit(along)
    gradient = jax.tree.map(jnp.conj, jax.grad(along)(point))
    # Leaf by leaf, so that a wrong derivative in a small leaf cannot hide behind a large one.
    for i, d in enumerate(direction):
        step = 1e-6
        shifted = [[*point[:i], point[i] + s * step * d, *point[i + 1 :]] for s in (1, -1)]
        numeric = float(along(shifted[0]) - along(shifted[1])) / (2 * step)
        exact = float(tree.dot(gradient[i], d))
        scale = max(abs(numeric), 1e-3 * abs(float(along(point))))
        error = abs(exact - numeric) / (scale if scale else 1.0)
        assert error < DERIVATIVE, f"derivative {exact:.8g}, central difference {numeric:.8g}"


def _size(p):
    # Poses and coordinates move by a fraction of themselves, so that steps suit every unit.
    return jnp.maximum(jnp.max(jnp.abs(p)), 1e-3)


def _inexact(leaf) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _real_matrix(A):
    """The matrix between the real vector spaces behind domain and range."""
    x, unravel = jax.flatten_util.ravel_pytree(tree.to_real(tree.zeros(A.domain)))

    def column(e):
        y = A(tree.from_real(unravel(e), A.domain))
        return jax.flatten_util.ravel_pytree(tree.to_real(y))[0]

    return np.asarray(jax.vmap(column, out_axes=1)(jnp.eye(x.size, dtype=x.dtype)), np.float64)


def _refusal(A, x) -> str:
    try:
        A(x)
    except ValueError as error:
        return str(error)
    return ""


def _same_structs(value, structs):
    got = jax.tree.map(lambda a: (a.shape, jnp.dtype(a.dtype).name), value)
    want = jax.tree.map(lambda a: (a.shape, jnp.dtype(a.dtype).name), structs)
    assert got == want, f"got {got}, promised {want}"


def _equal(got, expected, tolerance, what):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        error = relative_error(a, b)
        assert error <= tolerance, f"{what}: relative difference {error:.1e}"


VERBS = {
    "adjoint": check_adjoint,
    "dense transpose": check_dense_transpose,
    "linear": check_linear,
    "shapes": check_shapes,
    "gram": check_gram,
    "closed forms": check_closed_forms,
    "jit": check_jit,
    "vmap": check_vmap,
    "pytree": check_pytree,
    "traces": check_traces,
}
DERIVATIVE_VERBS = {"gradients": check_gradients, "second order": check_second_order}
