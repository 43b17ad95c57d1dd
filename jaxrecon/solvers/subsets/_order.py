"""In which order subsets take their turns.

Neighbouring views see nearly the same, so orders that jump converge faster in the first rounds:

- "sequential": 0, 1, 2, ...
- "bit_reversed": each next one as far as possible from those before, by reversed binary digits, as
  in the first ordered subsets (Hudson and Larkin, IEEE Trans. Med. Imaging 13, 1994).
- "golden": ranks of the multiples of the golden ratio, equally good for any n.
- "random": a new permutation every round, by key.

Every order takes each subset once a round.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

ORDERS = ("sequential", "bit_reversed", "golden", "random")


def subset_order(order: str, n: int) -> np.ndarray:
    """One round of a deterministic order: a permutation of 0 ... n − 1.

    Raises:
        ValueError: an unknown order.

    Example:
        >>> subset_order("bit_reversed", 8).tolist()
        [0, 4, 2, 6, 1, 5, 3, 7]
    """
    match order:
        case "sequential":
            return np.arange(n)
        case "bit_reversed":
            digits = max(n - 1, 0).bit_length()
            turns = [int(f"{k:0{digits}b}"[::-1], 2) if digits else 0 for k in range(2**digits)]
            return np.array([t for t in turns if t < n])
        case "golden":
            multiples = np.arange(n) * (np.sqrt(5) - 1) / 2 % 1
            return np.argsort(np.argsort(multiples))
    raise ValueError(f"`order` is {order!r}, expected one of {', '.join(map(repr, ORDERS))}")


def subset_index(order: str, n: int, k: Any, key: Key[Array, ""] | None) -> Int[Array, ""]:
    """Which subset has its turn at step k.

    Raises:
        ValueError: an unknown order, or "random" without a key.
    """
    if order == "random":
        if key is None:
            raise ValueError("`order` is 'random', which needs a `key`: pass one to `run`")
        table = jax.random.permutation(jax.random.fold_in(key, k // n), n)
    else:
        table = jnp.asarray(subset_order(order, n), jnp.int32)
    return table[k % n].astype(jnp.int32)
