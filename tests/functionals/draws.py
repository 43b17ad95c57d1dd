"""Random arrays that the cases and the tests of functionals share, and what a case is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

SHAPE = (4, 6)
KEY = jax.random.key(8)


def normal(dtype, shape=SHAPE, fold=0):
    """Standard normal entries; the same for the same `fold`."""
    return jax.random.normal(jax.random.fold_in(KEY, fold), shape, dtype)


def positive(dtype, shape=SHAPE, fold=0):
    """Real entries of at least 0.1 in the precision of `dtype`: weights, counts, points."""
    return jnp.abs(normal(jnp.finfo(dtype).dtype, shape, fold)) + 0.1


class Case(NamedTuple):
    """A functional on arrays of `SHAPE`, and where to look at it.

    Attributes:
        make: of a dtype's name (float32 and complex64 as well as double precision) to a functional
            whose arrays have that precision.
        on_complex: whether complex x are allowed.
        point: of dtype and fold to an x in the functional's domain.
        tol: accuracy of the proximal map; 1e-9 for closed forms.
    """

    make: Callable[[str], Any]
    on_complex: bool = False
    point: Callable[..., Any] = lambda dtype, fold: normal(dtype, fold=fold)
    tol: float = 1e-9
