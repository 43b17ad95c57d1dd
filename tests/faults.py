"""Faults that several registries show to their verbs."""

import jax
import jax.numpy as jnp


@jax.custom_batching.custom_vmap
def mixing(x):
    """The identity alone; in a batch, with a trace of the others."""
    return x


@mixing.def_vmap
def _mixed(size, batched, x):
    del size, batched
    return x + 0.01 * jnp.mean(x, 0), True
