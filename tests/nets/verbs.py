"""What the registry asks of every image network; `test_registry.py` shows each verb to fail."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.nets import layers
from tests.nets.registry import Case
from tests.tolerances import DERIVATIVE, EQUAL, relative_error

KEY = jax.random.key(7)
TOLERANCE = 5 * EQUAL["float32"]


def example(case: Case, *leading: int, dtype=jnp.float32):
    return jax.random.normal(KEY, (*leading, *case.shape, case.n_in), dtype)


def build(case: Case, seed: int = 0, **options):
    """The network with random numbers in place of its own initial ones.

    Initialisers take seconds to compile, and start with zeros and ones that hide mistakes.
    """
    net, draw = _abstract(case, **options), np.random.default_rng(seed)
    return jax.tree.map_with_path(lambda path, leaf: _fill(str(path[-2:]), leaf, draw), net)


def _abstract(case: Case, **options):
    return nnx.eval_shape(lambda: case.make(rngs=nnx.Rngs(0), **options))


def _fill(name: str, leaf, draw):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    if jnp.issubdtype(leaf.dtype, jnp.integer):
        return jnp.zeros(leaf.shape, leaf.dtype)
    values = draw.normal(size=leaf.shape)
    if leaf.ndim > 1:
        values = values / np.sqrt(leaf.size / leaf.shape[-1])
    if "scale" in name or "var" in name or "temperature" in name:
        values = 1 + 0.2 * np.tanh(values)
    return jnp.asarray(values, leaf.dtype)


@jax.jit
def call(net, x):
    return net(x)


def check_shapes(case: Case):
    """Sizes that nothing divides are kept, with any leading axes, and so is the dtype."""
    net, sizes = build(case), case.shape if case.shrunk is None else case.shrunk
    for leading in ((), (2, 1)):
        y = jax.eval_shape(call, net, example(case, *leading))
        assert y.shape == (*leading, *sizes, case.n_out), f"shape {y.shape}"
        assert y.dtype == jnp.float32


def check_refusal(case: Case):
    """Another number of channels is refused by name."""
    x = jnp.zeros((*case.shape, case.n_in + 1))
    assert "`x`" in _refusal(build(case), x), "accepted, or refused without naming `x`"


def check_jit(case: Case):
    """jit with the network as an argument equals eager; another one does not trace again."""
    x, count = example(case), 0

    @jax.jit
    def counted(net, x):
        nonlocal count
        count += 1
        return net(x)

    first, second = build(case), build(case, 1)
    _equal(call(first, x), first(x), "jit")
    for net in (first, second):
        counted.lower(net, x)
    assert count == 1, f"traced {count} times for networks of one kind"


def check_vmap(case: Case):
    """vmap over stacked networks, each with two examples on a leading axis, equals a loop."""
    nets, x = [build(case, seed) for seed in range(2)], example(case, 2, 2)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    both = jax.jit(jax.vmap(lambda net, x: net(x)))
    loop = [jnp.stack([call(net, one) for one in pair]) for net, pair in zip(nets, x, strict=True)]
    _equal(both(stacked, x), jnp.stack(loop), "vmap")


def check_parameters(case: Case):
    """The number of parameters is the formula's, and all have the dtype asked for."""
    net = _abstract(case, param_dtype=jnp.bfloat16)
    leaves = jax.tree.leaves(nnx.state(net, nnx.Param))
    n = layers.n_parameters(net)
    assert n == case.n_parameters, f"{n} parameters, the formula says {case.n_parameters}"
    assert {leaf.dtype.name for leaf in leaves} == {"bfloat16"}


def check_bfloat16(case: Case):
    """With dtype=bfloat16 every product is one of bfloat16; in and out stay float32."""
    exact, rough, x = build(case), build(case, dtype=jnp.bfloat16), example(case)
    y = call(rough, x)
    assert y.dtype == jnp.float32
    error = relative_error(y, call(exact, x))
    assert error < 5 * EQUAL["bfloat16"], f"bfloat16 is {error:.1e} away"
    inside = jax.make_jaxpr(lambda net, x: net(x))(rough, x).jaxpr
    products = filter(_is_product, _equations(inside))
    dtypes = {equation.invars[0].aval.dtype.name for equation in products}
    assert dtypes == {"bfloat16"}, f"products in {dtypes}"
    assert jax.eval_shape(call, rough, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def check_evaluation(case: Case):
    """As built and after train() and eval() alike: calls change nothing, and agree."""
    net, x = build(case), example(case)
    before = jax.tree.map(np.asarray, _numbers(net))
    first = net(x)
    net.train()
    net.eval()
    _equal(net(x), first, "evaluation")
    jax.tree.map(np.testing.assert_array_equal, before, _numbers(net))


def check_homogeneous(case: Case):
    """What is promised to be homogeneous is: net(3 x) = 3 net(x); other networks are not."""
    net, x = build(case), example(case)
    error = relative_error(call(net, 3 * x), 3 * call(net, x))
    assert (error < TOLERANCE) == case.homogeneous, f"homogeneous up to {error:.1e}"


def check_gradients(case: Case):
    """float64: derivatives in the input and in every weight against central differences."""
    net = build(case, param_dtype=jnp.float64)
    x = example(case, dtype=jnp.float64)
    graph, weights, rest = nnx.split(net, nnx.Param, ...)
    leaves, structure = jax.tree.flatten((weights, x))
    draw = np.random.default_rng(5)
    moves = [jnp.asarray(draw.normal(size=leaf.shape)) for leaf in leaves]

    def value(leaves):
        weights, x = jax.tree.unflatten(structure, leaves)
        y = nnx.merge(graph, weights, rest)(x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    @jax.jit
    def along(steps):
        """The value a step along each leaf's direction, and the slopes there."""
        moved = [leaf + t * move for leaf, t, move in zip(leaves, steps, moves, strict=True)]
        at, gradient = jax.value_and_grad(value)(moved)
        return at, [jnp.sum(g * move) for g, move in zip(gradient, moves, strict=True)]

    at, slopes = along(np.zeros(len(moves)))
    step = 1e-6
    for leaf, exact, unit in zip(leaves, map(float, slopes), np.eye(len(moves)), strict=True):
        numeric = float(along(step * unit)[0] - along(-step * unit)[0]) / (2 * step)
        assert exact != 0, f"a leaf of shape {leaf.shape} does not matter"
        error = abs(exact - numeric) / max(abs(numeric), 1e-2 * abs(at))
        assert error < 5 * DERIVATIVE, f"derivative {exact:.8g}, central difference {numeric:.8g}"


def _numbers(net):
    """What a network holds, without its random keys."""
    return nnx.state(net, nnx.Not(nnx.RngKey))


def _refusal(net, x) -> str:
    try:
        jax.eval_shape(call, net, x)
    except ValueError as error:
        return str(error)
    return ""


def _equations(jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _is_product(equation):
    """Of features: those among weights alone have fewer axes than an image with channels."""
    if equation.primitive.name not in ("conv_general_dilated", "dot_general"):
        return False
    return equation.invars[0].aval.ndim > 2


def _equal(got, expected, what):
    assert got.shape == expected.shape, f"{what}: shapes {got.shape} and {expected.shape}"
    error = relative_error(got, expected)
    assert error <= TOLERANCE, f"{what}: relative difference {error:.1e}"


VERBS = {
    "shapes": check_shapes,
    "refusal": check_refusal,
    "jit": check_jit,
    "vmap": check_vmap,
    "parameters": check_parameters,
    "bfloat16": check_bfloat16,
    "evaluation": check_evaluation,
    "homogeneous": check_homogeneous,
}
DERIVATIVE_VERBS = {"gradients": check_gradients}
