"""What training carries from one step to the next, as one pytree of plain arrays.

A network is split into its graph (static: the program) and arrays: `params`, which the optimiser
moves, and `others`, everything else that it holds (running statistics, frozen layers, random
streams). Nothing in a state refers to the network object, so that states can be donated, sharded,
stored and compared leaf by leaf. Names of leaves are paths: ``params.layers.0.kernel``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, Key, PyTree

from jaxrecon.core import pytree, replace


@pytree
class TrainState:
    """The state of training.

    Attributes:
        step: the number of steps done.
        params: what is trained, nested by name.
        others: the network's other arrays: running statistics, frozen weights, random streams.
        opt_state: the optimiser's.
        ema: an exponential moving average of `params`, or None.
        key: the root of all randomness. It never changes: what is drawn depends on it, on the
            step and on the example alone, so that a restart draws the same.
    """

    step: Int[Array, ""]
    params: PyTree
    others: PyTree
    opt_state: PyTree
    ema: PyTree
    key: Key[Array, ""]


def create_state(
    net: nnx.Module,
    optimiser: optax.GradientTransformation,
    *,
    key: Key[Array, ""],
    ema: bool = False,
    trainable: Any = nnx.Param,
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a network into the static graph and the state to start training from.

    Args:
        net: the network; its arrays are copied, so that donating the state leaves it whole.
        optimiser: of `params`.
        key: the root of all randomness in training.
        ema: whether to keep a moving average of the parameters.
        trainable: a filter of `flax.nnx` for what is trained, by type or by path; the rest is
            frozen.

    Raises:
        ValueError: nothing in the network is trainable.

    Example:
        >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> graphdef, state = create_state(net, optax.sgd(0.1), key=jax.random.key(0))
        >>> jax.tree.map(jnp.shape, state.params)
        {'bias': (3,), 'kernel': (2, 3)}
    """
    graphdef, params, others = nnx.split(net, trainable, ...)
    params, others = _copy(nnx.to_pure_dict(params)), _copy(nnx.to_pure_dict(others))
    if not jax.tree.leaves(params):
        raise ValueError(f"`net` ({type(net).__name__}) has no arrays that match `trainable`")
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        others=others,
        opt_state=_copy(optimiser.init(params)),
        ema=_copy(params) if ema else None,
        key=jnp.copy(key),
    )
    return graphdef, state


def network(graphdef: nnx.GraphDef, state: TrainState, *, ema: bool = True) -> Any:
    """The network that a state holds, in evaluation mode; with averaged weights where there are.

    Its arrays are copies: further training of a donated state leaves it whole.
    """
    params = state.ema if ema and state.ema is not None else state.params
    net = nnx.merge(graphdef, _copy(params), _copy(state.others))
    net.eval()
    return net


def average(ema: PyTree, params: PyTree, decay: Any, step: Int[Array, ""]) -> PyTree:
    """One step of the moving average, ema ← d·ema + (1 − d)·params.

    d = min(decay, (1 + step)/(10 + step)), so that the random start is forgotten quickly; `step`
    counts the steps done before this one.
    """

    def blend(old, new):
        d = jnp.minimum(decay, (1.0 + step) / (10.0 + step)).astype(jnp.finfo(old.dtype).dtype)
        return d * old + (1 - d) * new

    return jax.tree.map(blend, ema, params)


def leaf_names(tree: PyTree) -> list[str]:
    """The name of every leaf, in order: ``params.layers.0.kernel``.

    Example:
        >>> leaf_names({"conv": {"kernel": 1, "bias": 0}})
        ['conv.bias', 'conv.kernel']
    """
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def to_numbers(tree: PyTree) -> PyTree:
    """A tree in which random keys are plain arrays of their bits."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def from_numbers(tree: PyTree, like: PyTree) -> PyTree:
    """The inverse of `to_numbers`, for a tree with keys where `like` has them."""

    def restore(array, template):
        if not is_key(template):
            return array
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(template))

    return jax.tree.map(restore, tree, like)


def is_key(x: Any) -> bool:
    """Whether an array holds random keys."""
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)


def with_ema_as_params(state: TrainState) -> TrainState:
    """The state whose parameters are the averaged ones, if it has them."""
    return state if state.ema is None else replace(state, params=state.ema)


def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)
