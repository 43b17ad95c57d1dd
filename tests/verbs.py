"""What the registry asks of every operator. `test_verbs.py` shows each to fail on a wrong one."""

import copy

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon import core
from jaxrecon.core import tree
from jaxrecon.core._checks import adjoint, forward  # one compilation for these checks and core's
from tests.tolerances import ADJOINT, DERIVATIVE, EQUAL, real_name, relative_error

SHIFT = 0.7


def precision(A) -> str:
    return real_name(jax.tree.leaves(A.domain)[0].dtype)


# Batches of one size, that of the basis, for the matrices and for vmap.
forward_batch = jax.jit(jax.vmap(lambda A, x: A(x), (None, 0)))
adjoint_batch = jax.jit(jax.vmap(lambda A, y: A.H(y), (None, 0)))


@jax.jit
def closed_forms(A, x):
    """The gram's image of x, by its spectrum too, and brought back by the shifted inverse."""
    image, spectrum, inverse = A.gram(x), A.gram_spectrum(), A.shifted_inverse(SHIFT)
    circular = None if spectrum is None else core.Circulant(spectrum, A.domain)(x)
    back = None if inverse is None else inverse(tree.add_scaled(image, SHIFT, x))
    return image, circular, back


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
    columns, rows = forward_batch(A, _basis(A.domain)), adjoint_batch(A, _basis(A.range))
    error = relative_error(_real_rows(rows), _real_rows(columns).T)
    assert error < 3 * ADJOINT[precision(A)], f"dense transpose {error:.1e}"


def check_linear(A, key):
    error = core.linearity(A, key)
    assert error < EQUAL[precision(A)], f"linearity {error:.1e}"


def check_shapes(A, key):
    """Domain and range tell the truth, and a wrong shape is refused by name."""
    _same_structs(jax.eval_shape(A, draws(A, key)[0]), A.range)
    _same_structs(jax.eval_shape(A.H, draws(A, key)[1]), A.domain)
    wrong = jax.tree.map(lambda s: jnp.asarray(np.zeros((*s.shape, 2), s.dtype)), A.domain)
    assert "`x`" in _refusal(A, wrong), "a wrong shape was accepted, or refused without its name"


def check_gram(A, key):
    """A.gram equals A.H A; a gram by another way than that may differ by what A promises, `eps`."""
    x, _ = draws(A, key)
    eps = getattr(getattr(A, "outer", A), "eps", 0.0)
    image, tolerance = closed_forms(A, x)[0], 10 * max(EQUAL[precision(A)], eps)
    _equal(image, adjoint(A, forward(A, x)), tolerance, "gram")


def check_closed_forms(A, key):
    """What A claims of its gram is true: its eigenvalues, and the inverse of gram + shift."""
    x, _ = draws(A, key)
    image, circular, back = closed_forms(A, x)
    if circular is not None:
        _equal(circular, image, 10 * EQUAL[precision(A)], "gram spectrum")
    if back is not None:
        _equal(back, x, 30 * EQUAL[precision(A)], "shifted inverse")
        _same_structs(back, A.domain)


def check_jit(A, key):
    """jit with the operator as an argument equals eager."""
    x, y = draws(A, key)
    _equal(forward(A, x), A(x), EQUAL[precision(A)], "jit")
    _equal(adjoint(A, y), A.H(y), EQUAL[precision(A)], "jit adjoint")


def check_vmap(A, key):
    """vmap over examples equals a loop, for the forward and the adjoint."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    pairs = (forward, forward_batch, A.domain), (adjoint, adjoint_batch, A.range)
    for apply, batched, side in pairs:
        examples = [_normal(rng, side) for _ in range(_n_real(side))]
        alone = _stacked([apply(A, example) for example in examples[:3]])
        together = jax.tree.map(lambda a: np.asarray(a)[:3], batched(A, _stacked(examples)))
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

    apply.trace(A, x)
    apply.trace(jax.tree.map(_doubled, copy.deepcopy(A)), x)
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


def _doubled(leaf):
    """Twice as much, of the same type; arrays by the host, where nothing compiles."""
    if not _inexact(leaf):
        return leaf
    return jnp.asarray(2 * np.asarray(leaf)) if isinstance(leaf, jax.Array) else 2 * leaf


def _size(p):
    # Poses and coordinates move by a fraction of themselves, so that steps suit every unit.
    return max(np.max(np.abs(p)), 1e-3)


def _inexact(leaf) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _n_real(side) -> int:
    """Dimensions of the real vector space behind a domain or range."""
    return sum(leaf.size * (1 + _is_complex(leaf)) for leaf in jax.tree.leaves(side))


def _basis(side):
    """The unit vectors of that space, stacked: real part before imaginary part, leaf by leaf."""
    rows = np.split(np.eye(_n_real(side)), _ends(side), axis=1)

    def one(leaf):
        values = rows.pop(0)
        values = values + 1j * rows.pop(0) if _is_complex(leaf) else values
        return values.reshape(-1, *leaf.shape).astype(leaf.dtype)

    return jax.tree.map(one, side)


def _ends(side):
    sizes = [leaf.size for leaf in jax.tree.leaves(side) for _ in range(1 + _is_complex(leaf))]
    return np.cumsum(sizes)[:-1]


def _real_rows(images):
    """Stacked images as rows of real numbers, in the order of `_basis`."""
    leaves = [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(images)]
    parts = [
        part for a in leaves for part in ((np.real(a), np.imag(a)) if _is_complex(a) else (a,))
    ]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def _is_complex(leaf) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.complexfloating))


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
