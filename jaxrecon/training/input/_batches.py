"""Batches for training, read ahead, whose place can be stored and gone back to."""

import concurrent.futures
import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import jax
import numpy as np

from jaxrecon.training.input._order import Order, Source

Batch = dict[str, Any]


@runtime_checkable
class Data(Protocol):
    """What a trainer asks of its data: an iterator whose place is plain data.

    `Batches` is one, and so is the iterator of any grain data set.
    """

    def __next__(self) -> Any:
        """The next batch."""
        ...

    def get_state(self) -> Any:
        """The place: after setting it, `__next__` gives the batch that it would give now."""
        ...

    def set_state(self, state: Any) -> None:
        """Goes to a place."""
        ...


class Batches:
    """An endless iterator over batches of a source, in an order that depends on the seed alone.

    Reading is done ahead, by threads or, where the reading itself is Python at work, by processes
    of `grain` (extra ``train``); the batches are the same.

    Args:
        source: of examples; see `Source`.
        batch_size: of all hosts together.
        seed: of the order.
        shuffle: whether each epoch has an order of its own.
        rows: which rows of each batch to read, on several hosts: see
            `jaxrecon.training.process_rows`.
        n_ahead: batches to read ahead.
        n_threads: that read.
        n_processes: that read, instead of threads. Needs `grain`, and a source that can be pickled.

    Raises:
        ValueError: an empty source, or a number that is too small.
        ImportError: `n_processes` is given and grain is not installed.

    Example:
        >>> from jaxrecon.training.input import ArraySource
        >>> batches = Batches(ArraySource(x=np.arange(5)), 2, shuffle=False)
        >>> next(batches)["x"], next(batches)["x"], next(batches)["x"]
        (array([0, 1]), array([2, 3]), array([4, 0]))
        >>> place = batches.get_state()
        >>> next(batches)["x"]
        array([1, 2])
        >>> batches.set_state(place)
        >>> next(batches)["x"]
        array([1, 2])
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rows: Sequence[int] | np.ndarray | None = None,
        n_ahead: int = 2,
        n_threads: int = 4,
        n_processes: int = 0,
    ):
        if len(source) == 0:
            raise ValueError("`source` is empty")
        for name, value in {"batch_size": batch_size, "n_threads": n_threads}.items():
            if value < 1:
                raise ValueError(f"`{name}` is {value}, expected at least 1")
        own = tuple(range(batch_size)) if rows is None else tuple(int(row) for row in rows)
        self._stream = _Stream(source, Order(len(source), shuffle, seed), batch_size, own)
        self._n_ahead, self._n_threads, self._n_processes = n_ahead, n_threads, n_processes
        self._reader: Iterator[Batch] | None = None
        self._next = 0
        if n_processes:
            _grain()

    @property
    def epoch(self) -> float:
        """How often the source has been gone through."""
        return self._next * self._stream.batch_size / self._stream.order.n

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        if self._reader is None:
            self._reader = self._read(self._next)
        batch = next(self._reader)
        self._next += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """The number of the next batch, and what the order depends on."""
        return {"batch": self._next, **self._stream.identity()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a place.

        Raises:
            ValueError: the place is one in a stream of another length, seed or batch size.
        """
        for name, value in self._stream.identity().items():
            if state.get(name) != value:
                raise ValueError(
                    f"`state` is a place in a stream whose `{name}` is {state.get(name)!r}, "
                    f"this one has {value!r}"
                )
        self._reader, self._next = None, state["batch"]

    def _read(self, first: int) -> Iterator[Batch]:
        if self._n_processes:
            return self._read_by_processes(first)
        return self._read_by_threads(first)

    def _read_by_threads(self, first: int) -> Iterator[Batch]:
        pool = concurrent.futures.ThreadPoolExecutor(self._n_threads)
        waiting: deque[list[concurrent.futures.Future]] = deque()
        number = first
        try:
            while True:
                while len(waiting) <= self._n_ahead:
                    places = self._stream.places(number)
                    waiting.append([pool.submit(self._stream.read, t) for t in places])
                    number += 1
                yield stack([future.result() for future in waiting.popleft()])
        finally:
            # Without waiting: the generator may be collected by one of the pool's own threads.
            pool.shutdown(wait=False, cancel_futures=True)

    def _read_by_processes(self, first: int) -> Iterator[Batch]:
        from absl import flags

        grain = _grain()
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain's processes look at flags that only `app.run` sets
        examples = grain.MapDataset.source(_FromBatch(self._stream, first))
        batches = examples.to_iter_dataset().batch(len(self._stream.rows), batch_fn=stack)
        options = grain.MultiprocessingOptions(
            num_workers=self._n_processes, per_worker_buffer_size=max(self._n_ahead, 1)
        )
        return iter(batches.mp_prefetch(options))


def padded_batches(
    source: Source, batch_size: int, rows: Sequence[int] | np.ndarray | None = None
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every example once, in order, for an evaluation; the last batch is filled up.

    Args:
        source: of examples.
        batch_size: of all hosts together.
        rows: which rows of each batch to read; all by default.

    Yields:
        A batch of examples, and which of them count.

    Example:
        >>> from jaxrecon.training.input import ArraySource
        >>> for batch, valid in padded_batches(ArraySource(x=np.arange(3)), 2):
        ...     print(batch["x"], valid)
        [0 1] [ True  True]
        [2 2] [ True False]
    """
    for first in range(0, len(source), batch_size):
        places = first + (np.arange(batch_size) if rows is None else np.asarray(rows))
        valid = places < len(source)
        yield stack([source[int(i)] for i in np.minimum(places, len(source) - 1)]), valid


def stack(examples: Sequence[Any]) -> Any:
    """Examples, pytrees of arrays, along a new first axis.

    Raises:
        ValueError: they differ in structure or shape.
    """
    try:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
    except ValueError as error:
        raise ValueError(f"`source` has examples that cannot be stacked: {error}") from None


@dataclasses.dataclass(frozen=True)
class _Stream:
    """The endless stream of examples, in batches, of which some rows are read here."""

    source: Source
    order: Order
    batch_size: int
    rows: tuple[int, ...]

    def places(self, batch: int) -> list[int]:
        return [batch * self.batch_size + row for row in self.rows]

    def read(self, t: int) -> Any:
        return self.source[self.order(t)]

    def identity(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.order), "batch_size": self.batch_size}


@dataclasses.dataclass(frozen=True)
class _FromBatch:
    """The rows read here, from some batch on, as one source for grain."""

    stream: _Stream
    first: int

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, i: SupportsIndex) -> Any:
        batch, row = divmod(int(i), len(self.stream.rows))
        return self.stream.read(self.stream.places(self.first + batch)[row])


def _grain() -> Any:
    try:
        import grain
    except ImportError:
        raise ImportError(
            "`n_processes` needs grain: pip install 'jaxrecon[train]', or read with threads"
        ) from None
    return grain
