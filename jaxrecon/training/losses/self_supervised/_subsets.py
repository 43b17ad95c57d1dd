"""Splitting a scan into two smaller scans, of some of its shots or views and of the other ones.

Where `restrict` leaves sizes as they are and puts zeros, `select` takes rows out, so that methods
that know a scan by its geometry, such as filtered backprojection, work on the parts: for networks
that begin with one. Only for scans that are lists of shots or views, and for a number of rows that
is known beforehand; which rows may be traced.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from jaxrecon.core import Operator, pytree, static
from jaxrecon.core.operators._elementary import Diagonal
from jaxrecon.core.operators._operator import Composition, Scaled
from jaxrecon.physics.ct import Fan, FourierParallel, Parallel
from jaxrecon.physics.mri import NUFFT
from jaxrecon.training.losses._loss import Batch, Metrics, entries
from jaxrecon.training.losses.image import normalised_l1_l2
from jaxrecon.training.losses.image._pixel import Distance
from jaxrecon.training.losses.self_supervised._rows import unit_axes

Rows = Int[Array, " row"]


@functools.singledispatch
def select(A: Any, rows: Rows) -> Any:
    """The scan of these shots or views, which are counted along the measurement's own axis.

    Raises:
        ValueError: A is no list of shots or views.

    Example:
        >>> from jaxrecon.physics import ct
        >>> A = ct.parallel_beam(jnp.arange(5.0), (4, 4), 6)
        >>> select(A, jnp.array([0, 3])).angles.tolist()
        [0.0, 3.0]
    """
    raise ValueError(
        f"`A` is a {type(A).__name__}, expected a scan made of shots or views: use `restrict`, "
        "which keeps the sizes"
    )


@select.register(Parallel)
@select.register(FourierParallel)
@select.register(Fan)
@select.register(NUFFT)
def _(A: Any, rows: Rows) -> Operator:
    # Every array of these is a list of views or shots.
    return jax.tree.map(lambda leaf: leaf[rows], A)


@select.register
def _(A: Composition, rows: Rows) -> Operator:
    if not isinstance(A.outer, Diagonal):
        return Composition(select(A.outer, rows), A.inner)
    inner = select(A.inner, rows)
    weights = jnp.broadcast_to(A.outer.weights, A.outer.struct.shape)
    part = jnp.take(weights, rows, axis=_row_axis(A))
    return Composition(Diagonal(part, inner.range), inner)


@select.register
def _(A: Scaled, rows: Rows) -> Operator:
    return Scaled(A.factor, select(A.inner, rows))


def select_data(A: Operator, y: Array, rows: Rows) -> Array:
    """The data of these shots or views of a scan A."""
    return jnp.take(y, rows, axis=_row_axis(A))


def interleaved(n_rows: int, i: Any, n: int) -> tuple[Int[Array, " part"], Int[Array, " rest"]]:
    """Rows i, i + n, i + 2n, ... and all other rows, each in order; i may be traced.

    Raises:
        ValueError: n does not divide the number of rows.
    """
    if n_rows % n:
        raise ValueError(f"`n` is {n}, which does not divide the {n_rows} shots or views")
    rows = jnp.arange(n_rows).reshape(-1, n)
    others = jnp.sort((i + 1 + jnp.arange(n - 1)) % n)
    return rows[:, i], rows[:, others].reshape(-1)


@pytree
class SubsetSSDU:
    """SSDU with two smaller scans: one of n interleaved parts of the shots or views, and the rest.

    In every step one part is drawn. "X:1" shows the network the rest and judges it on the part,
    "1:X" the other way round.

    Attributes:
        n: parts; has to divide the number of shots or views.
        strategy: "X:1" or "1:X".
        distance: of measurements.

    Example:
        >>> from jaxrecon.physics import ct
        >>> A = ct.parallel_beam(jnp.linspace(0, 3, 6), (4, 4), 6)
        >>> batch = {"y": A(jnp.ones((4, 4))), "A": A}
        >>> loss = SubsetSSDU(3)  # filtered backprojection of four views, judged on two
        >>> value, _ = loss(ct.fbp, batch, jax.random.key(0))
        >>> bool(value < 0.5)
        True
    """

    n: int = static(default=4)
    strategy: str = static(default="X:1")
    distance: Distance = static(default=normalised_l1_l2)

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: n does not divide the shots or views, or an unknown strategy.
        """
        if self.strategy not in ("X:1", "1:X"):
            raise ValueError(f"`strategy` is {self.strategy!r}, expected 'X:1' or '1:X'")
        y, A = entries(batch, "y", "A")
        i = jax.random.randint(key, (), 0, self.n)
        judged, seen = interleaved(y.shape[_row_axis(A)], i, self.n)
        if self.strategy == "1:X":
            judged, seen = seen, judged
        image = net(select(A, seen), select_data(A, y, seen))
        return self.distance(select(A, judged)(image), select_data(A, y, judged)), {}


def _row_axis(A: Operator) -> int:
    return unit_axes(A)[0]
