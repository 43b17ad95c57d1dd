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


@jax.jit
def forward(A, x):
    return A(x)


@jax.jit
def adjoint(A, y):
    return A.H(y)


def draws(A, key):
    """Random x in the domain and y in the range, from the host: nothing to compile."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return _normal(rng, A.domain), _normal(rng, A.range)


def _normal(rng, structs):
    def one(struct):
        values = rng.standard_normal(struct.shape)
        if jnp.issubdtype(struct.dtype, jnp.complexfloating):
            values = values + 1j * rng.standard_normal(struct.shape)
        return jnp.asarray(values.astype(struct.dtype))

    return jax.tree.map(one, structs)


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
    _same_structs(jax.eval_shape(A, draws(A, key)[0]), A.range)
    _same_structs(jax.eval_shape(A.H, draws(A, key)[1]), A.domain)
    wrong = jax.tree.map(lambda s: jnp.zeros((*s.shape, 2), s.dtype), A.domain)
    assert "`x`" in _refusal(A, wrong), "a wrong shape was accepted, or refused without its name"


def check_gram(A, key):
    """A.gram equals A.H A; a gram by another way than that may differ by what A promises, `eps`."""
    x, _ = draws(A, key)
    eps = getattr(getattr(A, "outer", A), "eps", 0.0)
    _equal(_gram(A, x), adjoint(A, forward(A, x)), 10 * max(EQUAL[precision(A)], eps), "gram")


def check_closed_forms(A, key):
    """What A claims of its gram is true: its eigenvalues, and the inverse of gram + shift."""
    x, _ = draws(A, key)
    spectrum = A.gram_spectrum()
    if spectrum is not None:
        circulant = core.Circulant(spectrum, A.domain)
        _equal(circulant(x), _gram(A, x), 10 * EQUAL[precision(A)], "gram spectrum")
    inverse = A.shifted_inverse(0.7)
    if inverse is not None:
        back = forward(inverse, tree.add_scaled(_gram(A, x), 0.7, x))
        _equal(back, x, 30 * EQUAL[precision(A)], "shifted inverse")
        _same_structs(back, A.domain)


def check_jit(A, key):
    """jit with the operator as an argument equals eager."""
    x, y = draws(A, key)
    _equal(forward(A, x), A(x), EQUAL[precision(A)], "jit")
    _equal(adjoint(A, y), A.H(y), EQUAL[precision(A)], "jit adjoint")


def check_vmap(A, key):
    """vmap over examples equals a loop, for the forward and the adjoint."""
    pairs = [draws(A, k) for k in jax.random.split(key, 3)]
    for apply, examples in zip((forward, adjoint), zip(*pairs, strict=True), strict=True):
        together = jax.jit(jax.vmap(apply, in_axes=(None, 0)))(A, _stacked(examples))
        alone = _stacked([apply(A, example) for example in examples])
        _equal(together, alone, EQUAL[precision(A)], "vmap")


def check_pytree(A, key):
    """Flattening and mapping give the same operator back; leaves are arrays."""
    x, _ = draws(A, key)
    again = jax.tree.unflatten(jax.tree.structure(A), jax.tree.leaves(A))
    _equal(forward(again, x), forward(A, x), 0.0, "pytree round trip")
    jax.eval_shape(lambda A: A(tree.zeros(A.domain)), A)


def check_store(A, key, folder):
    x, _ = draws(A, key)
    core.save(folder / "A.npz", A)
    _equal(forward(core.load(folder / "A.npz"), x), forward(A, x), 0.0, "save and load")


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
    """float64: gradients of ‖A x‖⁴ + ‖Aᴴ y‖⁴ in data and in the operator's own arrays."""
    x, y = draws(A, key)

    def f(A, x, y):
        return tree.sum_of_squares(A(x)) ** 2 + tree.sum_of_squares(A.H(y)) ** 2

    _check_derivative(f, (A, x, y), key)


def check_second_order(A, key):
    """float64: the gradient of ⟨∇_x f, v⟩, as training through a data-consistency step needs."""
    x, _ = draws(A, key)
    v, _ = draws(A, jax.random.fold_in(key, 1))

    def slope(A, x):
        gradient = jax.grad(lambda x: tree.sum_of_squares(A(x)) ** 2)(x)
        return tree.dot(jax.tree.map(jnp.conj, gradient), v)

    _check_derivative(slope, (A, x), key)


def _check_derivative(f, arguments, key):
    """One random directional derivative in each leaf against a central difference."""
    leaves, structure = jax.tree.flatten(arguments)
    chosen = [i for i, leaf in enumerate(leaves) if _inexact(leaf)]
    point = [np.asarray(leaves[i]) for i in chosen]

    def along(point):
        merged = list(leaves)
        for i, leaf in zip(chosen, point, strict=True):
            merged[i] = leaf
        return f(*jax.tree.unflatten(structure, merged))

    along = jax.jit(jax.value_and_grad(along))
    value, gradient = along(point)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    # Leaf by leaf, so that a wrong derivative in a small leaf cannot hide behind a large one.
    for i, p in enumerate(point):
        step, d = 1e-6, np.asarray(_normal(rng, p)) * _size(p)
        shifted = [[*point[:i], p + s * step * d, *point[i + 1 :]] for s in (1, -1)]
        numeric = float(along(shifted[0])[0] - along(shifted[1])[0]) / (2 * step)
        exact = float(np.vdot(np.conj(gradient[i]), d).real)
        scale = max(abs(numeric), 1e-3 * abs(float(value)))
        error = abs(exact - numeric) / (scale if scale else 1.0)
        assert error < DERIVATIVE, f"derivative {exact:.8g}, central difference {numeric:.8g}"


def _size(p):
    # Poses and coordinates move by a fraction of themselves, so that steps suit every unit.
    return max(np.max(np.abs(p)), 1e-3)


def _inexact(leaf) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _real_matrix(A):
    """The matrix between the real vector spaces behind domain and range."""
    x, unravel = jax.flatten_util.ravel_pytree(tree.to_real(tree.zeros(A.domain)))

    def column(e):
        y = A(tree.from_real(unravel(e), A.domain))
        return jax.flatten_util.ravel_pytree(tree.to_real(y))[0]

    columns = jax.jit(jax.vmap(column, out_axes=1))
    return np.asarray(columns(np.eye(x.size, dtype=x.dtype)), np.float64)


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


def _stacked(examples):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)


@jax.jit
def _gram(A, x):
    return A.gram(x)


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
