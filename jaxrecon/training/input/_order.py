"""In which order examples are read: a function of the seed and of nothing else.

A source is anything with a length and an index, as grain's are: ``source[i]`` is one example, a
dict of numpy arrays. The stream of examples is endless: epoch after epoch, each in an order of its
own. Example number t of the stream is

    source[π_e(t mod n)],  e = ⌊t/n⌋,

π_e being a permutation drawn from (seed, e). A batch is the next `batch_size` of the stream, across
the ends of epochs, so that its examples do not depend on who reads them, or how far ahead.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int


@runtime_checkable
class Source(Protocol):
    """Examples by number: lists of dicts, `ArraySource`, and the data sources of grain."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: SupportsIndex, /) -> Mapping[str, Any]:
        """One of them, by its number from 0."""
        ...


class ArraySource:
    """Examples held in memory, the first axis of every array.

    Raises:
        ValueError: the arrays differ in their first axis, or there are none.

    Example:
        >>> source = ArraySource(image=np.arange(6.0).reshape(3, 2))
        >>> len(source), source[1]
        (3, {'image': array([2., 3.])})
    """

    def __init__(self, **arrays: Any):
        sizes = {name: np.shape(array)[:1] for name, array in arrays.items()}
        if len(set(sizes.values())) != 1 or () in sizes.values():
            raise ValueError(f"`arrays` have first axes {sizes}, expected one number for all")
        self._arrays = {name: np.asarray(array) for name, array in arrays.items()}

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return {name: array[index] for name, array in self._arrays.items()}


@dataclasses.dataclass(frozen=True)
class Order:
    """The number in the source of the t-th example of the stream.

    Example:
        >>> order = Order(3, shuffle=True, seed=1)
        >>> sorted(order(t) for t in range(3)), sorted(order(t) for t in range(3, 6))
        ([0, 1, 2], [0, 1, 2])
    """

    n: int
    shuffle: bool
    seed: int

    def __call__(self, t: int) -> int:
        """For t from 0 on."""
        epoch, place = divmod(t, self.n)
        return int(permutation(self.n, self.seed, epoch)[place]) if self.shuffle else place


@functools.lru_cache(maxsize=4)
def permutation(n: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """A permutation drawn from (seed, epoch).

    From the bits of the generator, which numpy promises to keep, and not from its `permutation`,
    which may change with the version.
    """
    bits = np.random.Philox(key=[seed, epoch]).random_raw(n)
    return np.argsort(bits, kind="stable")
