"""A small training loop: Adam with a cosine schedule, a moving average, the best kept.

The loss has the signature of `jaxrecon.training`: ``loss(net, example, key) -> (scalar, metrics)``.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _models import Recipe

from jaxrecon.core import pytree, static
from jaxrecon.nets.priors import jacobian_penalty


@pytree
class DenoisingLoss:
    """Mean absolute error at a noise level drawn for each example, and a Jacobian penalty.

    The penalty keeps ‖I − J‖ below 0.9 at the noisy image; the metrics say what it is.
    """

    max_sigma: Any
    penalty: float = static(default=0.0)

    def __call__(self, net: Any, example: dict[str, Any], key: Any) -> tuple[Any, dict[str, Any]]:
        """The loss of one image."""
        x = example["image"]
        level, noise, start = jax.random.split(key, 3)
        sigma = jax.random.uniform(level, (), x.dtype, 0.0, self.max_sigma)
        y = x + sigma * jax.random.normal(noise, x.shape, x.dtype)
        loss = jnp.mean(jnp.abs(net(y, sigma) - x))
        if not self.penalty:
            return loss, {}
        excess, size = jacobian_penalty(net, y, sigma, start)
        return loss + self.penalty * excess, {"jacobian": size}


def train(
    net: Any,
    recipe: Recipe,
    batches: Iterator[np.ndarray],
    validate: Callable[[Any], float],
    *,
    seed: int,
    every: int,
    log: Path,
    seconds: float | None = None,
) -> tuple[Any, float]:
    """The moving average of the weights that validated best, and its score.

    Args:
        net: network at its start, a pytree of which all arrays are learned.
        recipe: steps, rates and the like.
        batches: ``(batch, y, x)``.
        validate: the score of a network, the higher the better.
        seed: of the noise.
        every: steps between validations.
        log: JSON lines are appended to it.
        seconds: stop after so long, whatever the schedule says.
    """
    optimiser = _optimiser(recipe)
    step = _step(DenoisingLoss(recipe.max_sigma, recipe.penalty), optimiser, recipe.decay)
    average = best = net
    state, key, score, start = optimiser.init(net), jax.random.key(seed), -np.inf, time.time()
    for i in range(recipe.steps):
        keys = jax.random.split(jax.random.fold_in(key, i), recipe.batch)
        net, average, state, info = step(net, average, state, {"image": next(batches)}, keys)
        late = seconds is not None and time.time() - start > seconds
        if (i + 1) % every == 0 or i + 1 == recipe.steps or late:
            new = validate(average)
            if new > score:
                score, best = new, average
            elapsed = round(time.time() - start, 1)
            info = {name: float(value) for name, value in info.items()}
            _write(log, {"step": i + 1, "seconds": elapsed, "psnr": round(new, 3)} | info)
        if late:
            break
    return best, score


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    warm = min(100, recipe.steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, recipe.rate, warm, recipe.steps, 0.01 * recipe.rate
    )

    def factor(path):
        name = jax.tree_util.keystr(path)
        return next((f for part, f in recipe.faster if part in name), 1.0)

    def stretch(updates, params):
        del params
        return jax.tree_util.tree_map_with_path(lambda path, u: factor(path) * u, updates)

    adam = optax.adam(schedule)
    return optax.chain(optax.clip_by_global_norm(1.0), adam, optax.stateless(stretch))


def _step(loss: DenoisingLoss, optimiser: optax.GradientTransformation, decay: float):
    def mean_loss(net, examples, keys):
        values, info = jax.vmap(lambda example, key: loss(net, example, key))(examples, keys)
        return jnp.mean(values), {name: jnp.mean(value) for name, value in info.items()}

    @jax.jit
    def step(net, average, state, examples, keys):
        (value, info), slope = jax.value_and_grad(mean_loss, has_aux=True)(net, examples, keys)
        updates, state = optimiser.update(slope, state, net)
        net = optax.apply_updates(net, updates)
        average = jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, average, net)
        size = optax.global_norm(slope)
        return net, average, state, info | {"loss": value, "gradient": size}

    return step


def save(path: Path, net: Any) -> None:
    """Every array under the name of its place in the network."""
    leaves = jax.tree_util.tree_leaves_with_path(net)
    np.savez(path, **{jax.tree_util.keystr(place): np.asarray(leaf) for place, leaf in leaves})


def load(path: Path, net: Any) -> Any:
    """The network with the arrays of a file that `save` wrote.

    Raises:
        ValueError: they are those of another network.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}

    def read(place, leaf):
        name = jax.tree_util.keystr(place)
        if name not in arrays or arrays[name].shape != leaf.shape:
            got = arrays[name].shape if name in arrays else "nothing"
            raise ValueError(f"{path}: `{name}` is {got}, expected an array of shape {leaf.shape}")
        return jnp.asarray(arrays[name], leaf.dtype)

    return jax.tree_util.tree_map_with_path(read, net)


def _write(log: Path, record: dict) -> None:
    line = json.dumps(record)
    print(line, flush=True)
    with log.open("a") as file:
        file.write(line + "\n")
