"""Tuning by gradient: minimise the error of the solutions over what defines their problems.

    min_θ  mean over examples of L(x̂(θ; y), x),   x̂(θ; y) = argmin_u Σ fᵢ(Aᵢ u; θ, y)            (1)

with the gradient of x̂ by the implicit function theorem, so memory does not grow with the inner
iterations and nothing but the solution matters. θ may be any pytree: one weight, a weight for each
scale, the filters of a learned regulariser, a sampling pattern.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxrecon.core import AdjointSolve, Algorithm, Problem, run, tree


class Tuned(NamedTuple):
    """Parameters after tuning.

    Attributes:
        parameters: the last ones.
        losses: the loss before every step, ``(step,)``.
        converged: the share of inner problems that were solved, ``(step,)``; below 1, raise
            `n_iter` or loosen `tol`: the gradient is that of a solution.
        skipped: steps that were not taken because their gradient was not finite, ``(step,)``: the
            adjoint system was not solved, see `AdjointSolve`.
    """

    parameters: PyTree
    losses: Float[Array, " step"]
    converged: Float[Array, " step"]
    skipped: Bool[Array, " step"]


def tune(
    build: Callable[[PyTree, Any], Problem],
    parameters: PyTree,
    examples: tuple[PyTree, PyTree],
    *,
    algorithm: Algorithm,
    n_iter: int,
    tol: float,
    loss: Callable[[PyTree, PyTree], Array] | None = None,
    optimizer: Any = None,
    n_steps: int = 30,
    batch_size: int | None = None,
    positive: bool = True,
    adjoint_solve: AdjointSolve | None = None,
    key: Key[Array, ""] | None = None,
) -> Tuned:
    """Tunes the parameters of a family of problems on examples, equation (1).

    Args:
        build: ``build(parameters, data) -> Problem``.
        parameters: where to start, any pytree of real arrays.
        examples: ``(data, truth)``, pytrees with a leading axis of examples. Without a truth, a
            `loss` that needs none may be given any array there.
        algorithm: with a `fixed_point`, so that its solution can be differentiated.
        n_iter: inner iterations at most.
        tol: inner tolerance.
        loss: ``loss(image, truth)``, the relative squared error by default.
        optimizer: an optax transformation; by default Adam of step 0.1, on the logarithm of
            positive parameters.
        n_steps: steps of the optimizer.
        batch_size: examples of a step, drawn without replacement; all by default.
        positive: whether parameters are positive, and so are stepped in their logarithm.
        adjoint_solve: tolerances of the adjoint system.
        key: draws the batches; the outcome is reproducible from it.

    Returns:
        The tuned parameters and the course of the loss.

    Raises:
        ValueError: a batch without a key or larger than the examples; parameters that are not
            positive although `positive`.
    """
    import optax  # half a second, for those who tune

    n_examples = jax.tree.leaves(examples)[0].shape[0]
    _check(parameters, n_examples, batch_size, positive, key)
    loss = relative_squared_error if loss is None else loss
    optimizer = optax.adam(0.1) if optimizer is None else optimizer
    forward, backward = (_log, _exp) if positive else (_same, _same)
    options: dict[str, Any] = {"n_iter": n_iter, "tol": tol, "adjoint_solve": adjoint_solve}

    def one(theta, data, truth):
        result = run(algorithm, build(backward(theta), data), gradient="implicit", **options)
        return loss(result.value, truth), result.status.ok

    def batch_loss(theta, batch):
        losses, ok = jax.vmap(one, (None, 0, 0))(theta, *batch)
        return jnp.mean(losses), jnp.mean(ok.astype(losses.dtype))

    def step(carry, key):
        theta, state = carry
        batch = _draw(examples, n_examples, batch_size, key)
        (value, converged), slope = jax.value_and_grad(batch_loss, has_aux=True)(theta, batch)
        updates, moved = optimizer.update(slope, state, theta)
        usable = jnp.isfinite(tree.norm(slope))
        new = optax.apply_updates(theta, updates), moved
        return tree.where(usable, new, (theta, state)), (value, converged, ~usable)

    theta = forward(jax.tree.map(jnp.asarray, parameters))
    keys = jax.random.split(jax.random.key(0) if key is None else key, n_steps)
    start = (theta, optimizer.init(theta))
    (theta, _), course = jax.jit(lambda s, k: jax.lax.scan(step, s, k))(start, keys)
    return Tuned(backward(theta), *course)


def relative_squared_error(image: PyTree, truth: PyTree) -> Array:
    """‖image − truth‖² / ‖truth‖²."""
    return tree.sum_of_squares(tree.sub(image, truth)) / tree.sum_of_squares(truth)


def _check(parameters, n_examples: int, batch_size, positive: bool, key) -> None:
    if batch_size is not None and not 1 <= batch_size <= n_examples:
        raise ValueError(f"`batch_size` is {batch_size}, expected 1 to {n_examples} examples")
    if batch_size is not None and key is None:
        raise ValueError("`key` is missing: batches are drawn with one")
    if positive and any(bool(jnp.any(p <= 0)) for p in jax.tree.leaves(parameters)):
        raise ValueError("`parameters` are not all positive: pass positive=False")


def _draw(examples: PyTree, n_examples: int, batch_size: int | None, key: Any) -> PyTree:
    if batch_size is None:
        return examples
    chosen: Sequence[Any] | Array = jax.random.choice(key, n_examples, (batch_size,), replace=False)
    return jax.tree.map(lambda leaf: leaf[chosen], examples)


def _log(parameters: PyTree) -> PyTree:
    return jax.tree.map(jnp.log, parameters)


def _exp(theta: PyTree) -> PyTree:
    return jax.tree.map(jnp.exp, theta)


def _same(parameters: PyTree) -> PyTree:
    return parameters
