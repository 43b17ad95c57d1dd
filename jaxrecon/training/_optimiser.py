"""The optimisers that reconstruction networks are trained with, as one call over optax."""

import jax
import optax


def adamw(
    learning_rate: float,
    *,
    n_steps: int | None = None,
    n_warmup: int = 0,
    final: float = 0.01,
    clip: float | None = 1.0,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """AdamW with the gradient's norm clipped and, given `n_steps`, a cosine schedule after warm-up.

    Args:
        learning_rate: the largest.
        n_steps: of the schedule, warm-up included; constant after warm-up if None.
        n_warmup: steps of linear warm-up from zero.
        final: the last learning rate, as a fraction of the largest.
        clip: the largest norm of the whole gradient; None does not clip.
        weight_decay: decoupled, for arrays of two axes and more: biases and gains don't decay.
        b1: memory of the mean.
        b2: memory of the square.

    Raises:
        ValueError: a warm-up as long as the schedule, or a negative clip.

    Example:
        >>> optimiser = adamw(1e-3, n_steps=100, n_warmup=10, weight_decay=1e-2)
        >>> state = optimiser.init({"kernel": jax.numpy.ones((2, 2))})
    """
    if n_steps is not None and not 0 <= n_warmup < n_steps:
        raise ValueError(f"`n_warmup` is {n_warmup}, expected from 0 to below `n_steps`, {n_steps}")
    if clip is not None and not clip > 0:
        raise ValueError(f"`clip` is {clip}, expected a positive number, or None")
    adam = optax.adamw(
        schedule(learning_rate, n_steps=n_steps, n_warmup=n_warmup, final=final),
        b1=b1,
        b2=b2,
        weight_decay=weight_decay,
        mask=_matrices,
    )
    return adam if clip is None else optax.chain(optax.clip_by_global_norm(clip), adam)


def schedule(
    learning_rate: float, *, n_steps: int | None, n_warmup: int = 0, final: float = 0.01
) -> optax.Schedule:
    """Linear warm-up from zero, then a cosine down to ``final · learning_rate`` at `n_steps`.

    Example:
        >>> rate = schedule(1.0, n_steps=10, n_warmup=2, final=0.1)
        >>> [round(float(rate(i)), 2) for i in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.55, 0.1]
    """
    if n_steps is None:
        ramp = optax.linear_schedule(0.0, learning_rate, max(n_warmup, 1))
        return ramp if n_warmup else optax.constant_schedule(learning_rate)
    fall = optax.cosine_decay_schedule(learning_rate, n_steps - n_warmup, alpha=final)
    if not n_warmup:
        return fall
    ramp = optax.linear_schedule(0.0, learning_rate, n_warmup)
    return optax.join_schedules([ramp, fall], [n_warmup])


def _matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)
