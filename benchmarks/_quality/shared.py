"""Tasks: what was measured, of which image, and which images tune; small things all of them use.

Every task is brought to the same units, from what a user knows and never from the truth: the
operator has norm one, and images are about [0, 1] (counted in units of a fixed attenuation in CT,
of a high percentile of the zero-filled image in MRI), so that one range of strengths suits all.
None of the metrics changes with the units.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon import core
from jaxrecon.core import LinearOperator, pytree

MARGIN = 1.02  # power iteration approaches the norm from below
Ladder = tuple[float, ...]


@pytree
class Scan:
    """One measurement in the module's units, or a stack of them: all but the operator."""

    data: Array
    weights: Array | None  # inverse variances, at most about 1
    first: Array  # where iterations start
    truth: Array


class Direct(NamedTuple):
    """The reconstruction without a prior: `f(operator, scan, parameters)`, and its parameters."""

    name: str
    reconstruct: Callable[[LinearOperator, Scan, dict], Array]
    ladders: dict[str, Ladder]


class Task(NamedTuple):
    """Scans of one kind, in the module's units."""

    name: str
    title: str
    operator: LinearOperator
    noise: float  # standard deviation of the weighted data (its mean over validation scans)
    validation: Scan
    test: Scan
    direct: Direct
    n_iter: int  # of plug-and-play
    facts: tuple[str, ...]
    positive: bool = True  # whether real images are

    @property
    def is_complex(self) -> bool:
        return jnp.iscomplexobj(self.test.truth)


class Sizes(NamedTuple):
    """Sides of images, and how many of them."""

    image: int = 128
    single_pixel: int = 64
    n_patterns: int = 333
    n_validation: int = 3
    n_test: int = 12


FULL, QUICK = Sizes(), Sizes(image=32, single_pixel=32, n_patterns=83, n_validation=2, n_test=4)


def known_norm(A: LinearOperator) -> float:
    return MARGIN * float(core.norm(A, jax.random.key(0)).value)


def stacked(scans: list[Scan]) -> Scan:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *scans)


def evenly(first: int, last: int, n: int) -> list[int]:
    """N integers from first to last."""
    return [int(i) for i in np.round(np.linspace(first, last, n))]


def powers(base: float, low: int, high: int) -> Ladder:
    return tuple(float(base**k) for k in range(low, high + 1))
