"""One step of training, a pure function on arrays.

A loss is any callable pytree ``loss(net, example, key) -> (scalar, metrics)`` of ONE example, a
dict of arrays, where `net` is the network itself; `metrics` is a dict of scalars. The step maps it
over the batch, so that neither networks nor losses know of batches, and every example has a key
of its own that depends on its place in the stream of examples alone:

    key(i) = fold_in(fold_in(root, 0), step · batch + i).

Measurements that are simulated inside the loss, augmentation and dropout are therefore the same
however a batch is split over devices, hosts or accumulated parts, and after a restart.

Losses are means over the batch. A network's arrays that change in training mode (running
statistics) are averaged over the batch afterwards; `nnx.BatchNorm(axis_name=BATCH)` also takes its
statistics over the whole batch instead of one example at a time. Complex parameters descend: JAX's
gradient is conjugated before it reaches the optimiser.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxrecon.core import pytree, replace, static, tree
from jaxrecon.training._state import TrainState, average, with_ema_as_params

BATCH = "batch"
"""The name of the axis of examples, for `nnx.BatchNorm(axis_name=BATCH)`."""

Loss = Callable[[Any, dict[str, Any], Any], tuple[Any, dict[str, Any]]]
Metrics = dict[str, Array]

_TRAINING, _EVALUATION = 0, 1


@pytree
class TrainStep:
    """``step(graphdef, state, batch) -> (state, metrics)``, pure; see `train_step`."""

    loss: Any
    optimiser: optax.GradientTransformation = static()
    ema_decay: float | None = static(default=None)
    n_parts: int = static(default=1)
    manual: Mesh | None = static(default=None)

    def __call__(
        self, graphdef: nnx.GraphDef, state: TrainState, batch: PyTree
    ) -> tuple[TrainState, Metrics]:
        """One step on a batch: a dict of arrays with the examples along the first axis."""
        if (state.ema is None) != (self.ema_decay is None):
            has = "no moving average" if state.ema is None else "a moving average"
            raise ValueError(f"`state` has {has}, but `ema_decay` is {self.ema_decay}")
        keys = example_keys(state, _batch_size(batch), state.step)
        gradient, others, metrics = self._gradient(graphdef, state, batch, keys)
        updates, opt_state = self.optimiser.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            ema = average(ema, params, self.ema_decay, state.step)
        metrics["grad_norm"] = tree.norm(gradient)
        usable = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        metrics["skipped"] = jnp.where(usable, 0.0, 1.0)
        moved = (params, others, opt_state, ema)
        params, others, opt_state, ema = tree.where(usable, moved, _moving(state))
        after = replace(state, params=params, others=others, opt_state=opt_state, ema=ema)
        return replace(after, step=state.step + 1), metrics

    def _gradient(self, graphdef, state, batch, keys) -> tuple[PyTree, PyTree, Metrics]:
        """The gradient of the mean loss, part after part, with what the parts left behind."""

        def part(carry, inputs):
            others, total = carry

            def mean_loss(params):
                options = {"mesh": self.manual, "training": True}
                values, metrics, after = _each(
                    self.loss, graphdef, params, others, *inputs, **options
                )
                means = jax.tree.map(_mean, {**metrics, "loss": values})
                return means["loss"], (means, _merge_others(others, after))

            (_, (metrics, others)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
                state.params
            )
            new = (jax.tree.map(jnp.conj, gradient), metrics)
            total = new if total is None else jax.tree.map(jnp.add, total, new)
            return others, total

        # The first part stands outside the loop, so that it need not be told what metrics there
        # are; XLA:CPU compiles loops around convolutions badly (jax#12868), so there all do.
        parts = _split((batch, keys), self.n_parts)
        carry = part((state.others, None), jax.tree.map(lambda x: x[:, 0], parts))
        if self.n_parts > 1 and jax.default_backend() == "cpu":
            for i in range(1, self.n_parts):
                carry = part(carry, jax.tree.map(lambda x, i=i: x[:, i], parts))
        elif self.n_parts > 1:
            rest = jax.tree.map(lambda x: jnp.moveaxis(x[:, 1:], 1, 0), parts)
            carry, _ = jax.lax.scan(lambda c, x: (part(c, x), None), carry, rest)
        others, (gradient, metrics) = carry
        gradient = tree.scale(1 / self.n_parts, gradient)
        return gradient, others, {name: m / self.n_parts for name, m in metrics.items()}


def train_step(
    loss: Loss,
    optimiser: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    n_parts: int = 1,
    manual: Mesh | None = None,
) -> TrainStep:
    """The pure step of training with a loss and an optimiser; for `jax.jit` and its friends.

    A step whose loss or gradient is not finite changes nothing but the count of steps; the metric
    "skipped" says so.

    Args:
        loss: ``loss(net, example, key) -> (scalar, metrics)``; its arrays, if it is a pytree, are
            data.
        optimiser: see `jaxrecon.training.adamw`; any of optax.
        ema_decay: of the moving average of the parameters, if the state has one.
        n_parts: a batch is worked off in so many parts, whose gradients are accumulated: less
            memory for the same step.
        manual: a mesh, to split the batch over its first axis by `jax.shard_map` rather than leave
            it to XLA: there each device sees its own examples only, so that nothing, such as the
            FFTs of jax < 0.11, is gathered, and `nnx.BatchNorm` takes statistics device by device.

    Returns:
        A callable pytree, ``step(graphdef, state, batch) -> (state, metrics)``.

    Raises:
        ValueError: `n_parts` below 1, or a decay outside [0, 1).

    Example:
        >>> from jaxrecon.training import create_state
        >>> def loss(net, example, key):
        ...     return jnp.mean((net(example["x"]) - example["y"]) ** 2), {}
        >>> net = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
        >>> graphdef, state = create_state(net, optax.sgd(0.1), key=jax.random.key(0))
        >>> step = jax.jit(train_step(loss, optax.sgd(0.1)), static_argnums=0, donate_argnums=1)
        >>> state, metrics = step(graphdef, state, {"x": jnp.ones((4, 1)), "y": jnp.ones((4, 1))})
        >>> int(state.step), sorted(metrics)
        (1, ['grad_norm', 'loss', 'skipped'])
    """
    if n_parts < 1:
        raise ValueError(f"`n_parts` is {n_parts}, expected at least 1")
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise ValueError(f"`ema_decay` is {ema_decay}, expected a number from 0 to below 1")
    return TrainStep(callable_pytree(loss), optimiser, ema_decay, n_parts, manual)


@pytree
class EvaluateStep:
    """``step(graphdef, state, batch) -> (sums, count)``, pure; see `evaluate_step`."""

    loss: Any
    manual: Mesh | None = static(default=None)

    def __call__(
        self,
        graphdef: nnx.GraphDef,
        state: TrainState,
        batch: PyTree,
        valid: Bool[Array, " batch"] | None = None,
        start: Any = 0,
    ) -> tuple[Metrics, Float[Array, ""]]:
        """Sums of the metrics over the valid examples, and how many those are."""
        n = _batch_size(batch)
        keys = example_keys(state, n, start, _EVALUATION, by_batch=False)
        state = with_ema_as_params(state)
        options = {"mesh": self.manual, "training": False}
        values, metrics, _ = _each(
            self.loss, graphdef, state.params, state.others, batch, keys, **options
        )
        weight = jnp.ones(n) if valid is None else valid.astype(jnp.float32)

        def total(m):
            m = _real(m)
            return jnp.sum(jnp.where(weight > 0, m, 0), dtype=m.dtype)

        return jax.tree.map(total, {**metrics, "loss": values}), jnp.sum(weight)


def evaluate_step(loss: Loss, *, manual: Mesh | None = None) -> EvaluateStep:
    """The pure step of an evaluation: the network in evaluation mode, averaged weights if any.

    Sums and counts rather than means, so that batches of different sizes add up. Keys depend on the
    example's place in the evaluated set alone, `start` being that of the batch's first: every
    evaluation meets the same noise.

    Args:
        loss: as for `train_step`.
        manual: as for `train_step`.

    Returns:
        A callable pytree, ``step(graphdef, state, batch, valid=None, start=0) -> (sums, count)``.
    """
    return EvaluateStep(callable_pytree(loss), manual)


def example_keys(
    state: TrainState, n: int, start: Any, purpose: int = _TRAINING, *, by_batch: bool = True
) -> Key[Array, " batch"]:
    """A key for each of `n` examples, by their places in the stream; see the module's text.

    `start` counts batches or, with ``by_batch=False``, examples.
    """
    first = jnp.asarray(start, jnp.uint32) * jnp.uint32(n if by_batch else 1)
    root = jax.random.fold_in(state.key, purpose)
    places = first + jnp.arange(n, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(root, places)


def callable_pytree(function: Any) -> Any:
    """A callable as a pytree: itself if it is one, else static."""
    # One without arrays must stay itself: a Partial of it would compile again for an equal one.
    return jax.tree_util.Partial(function) if jax.tree_util.all_leaves([function]) else function


def _each(loss, graphdef, params, others, batch, keys, *, mesh: Mesh | None, training: bool):
    """Values, metrics and the network's other arrays afterwards, of every example."""

    def one(loss, params, others, example, key):
        key_loss, key_net = jax.random.split(key)
        net = nnx.merge(graphdef, params, others)
        net.train() if training else net.eval()
        _reseed(net, key_net)
        value, metrics = loss(net, example, key_loss)
        if jnp.shape(value) != ():
            raise ValueError(f"`loss` gave an array of shape {jnp.shape(value)}, expected a scalar")
        return value, metrics, _others_of(net, others)

    run = jax.vmap(one, in_axes=(None, None, None, 0, 0), axis_name=BATCH)
    if mesh is not None:
        split, whole = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
        specs = (whole, whole, whole, split, split)
        run = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=split)
    return run(loss, params, others, batch, keys)


def _reseed(net: nnx.Module, key: Key[Array, ""]) -> None:
    """Gives every random stream of a network a key of its own."""
    streams = [node for _, node in nnx.iter_graph(net) if isinstance(node, nnx.RngStream)]
    for i, stream in enumerate(streams):
        stream.key.set_value(jax.random.fold_in(key, i))
        stream.count.set_value(jnp.zeros((), jnp.uint32))


def _others_of(net: nnx.Module, others: PyTree) -> PyTree:
    """The arrays of a network that `others` names, after a call; random streams as before."""
    _, streams, rest = nnx.split(net, nnx.RngState, ...)
    now = dict(nnx.to_flat_state(rest))
    fixed = {path for path, _ in nnx.to_flat_state(streams)}
    before = flatten_dict(others)
    after = {
        path: old if path in fixed or path not in now else now[path].get_value()
        for path, old in before.items()
    }
    return unflatten_dict(after)


def _merge_others(before: PyTree, each: PyTree) -> PyTree:
    """One value for the batch: means of numbers with a fraction, the first of all else.

    What no example has changed stays the same to the bit, infinities too.
    """

    def one(old, new):
        if not jnp.issubdtype(old.dtype, jnp.inexact):
            return new[0]
        return jnp.where(jnp.all(new == old, 0), old, jnp.mean(new, 0))

    return jax.tree.map(one, before, each)


def _split(values: PyTree, n_parts: int) -> PyTree:
    """Examples as (within part, part): a device keeps its own examples in every part."""

    def split(x):
        if x.shape[0] % n_parts:
            raise ValueError(
                f"`batch` has {x.shape[0]} examples, which {n_parts} parts do not divide"
            )
        return x.reshape(x.shape[0] // n_parts, n_parts, *x.shape[1:])

    return jax.tree.map(split, values)


def _batch_size(batch: PyTree) -> int:
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            f"`batch` has leading axes {sorted(sizes)}, expected the same number of examples in all"
        )
    return sizes.pop()[0]


def _real(m: Array) -> Array:
    """Metrics are summed in single precision at least."""
    return m.astype(jnp.promote_types(m.dtype, jnp.float32))


def _mean(m: Array) -> Array:
    return jnp.mean(_real(m))


def _moving(state: TrainState) -> tuple[PyTree, PyTree, PyTree, PyTree]:
    return state.params, state.others, state.opt_state, state.ema
