"""Dominant eigenvectors of one small Hermitian matrix per pixel, and their free phase.

Coil maps are such eigenvectors (of the local coil covariance in adaptive combination, of the
reproducing kernel in ESPIRiT). An eigenvector's phase is arbitrary: it is fixed here by the first
principal ("virtual") coil, the coil combination that holds the most energy, which has signal nearly
everywhere, unlike any physical coil.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

_Tree = TypeVar("_Tree")
_HIGHEST = jax.lax.Precision.HIGHEST
_BLOCK_ELEMENTS = 2**22  # complex numbers in the matrices of one block of rows: 32 MiB


def principal_coil(data: Complex[Array, "coil *sample"]) -> Complex[Array, " coil"]:
    """The unit coil vector u of most energy: the first left singular vector of `(coil, sample)`.

    Its strongest component is real and positive, so that no two linear algebra libraries disagree.
    """
    u = jnp.linalg.eigh(coil_gram(data))[1][:, -1]
    strongest = u[jnp.argmax(jnp.abs(u))]
    return u * (strongest.conj() / jnp.abs(strongest))


def coil_gram(data: Complex[Array, "coil *sample"]) -> Complex[Array, "coil coil"]:
    """Coil by coil matrix `Σ d dᴴ` over all samples."""
    flat = data.reshape(data.shape[0], -1)
    return jnp.matmul(flat, flat.conj().T, precision=_HIGHEST)


def align_phase(
    maps: Complex[Array, "coil *image"], direction: Complex[Array, " coil"]
) -> Complex[Array, "coil *image"]:
    """Turn each pixel's vector so that its component along `direction` is real and positive."""
    component = jnp.einsum("c,c...->...", direction.conj(), maps, precision=_HIGHEST)
    size = jnp.abs(component)
    turn = jnp.where(size > 0, component / jnp.where(size > 0, size, 1), 1)
    return maps * turn.conj()[None]


def dominant_eigenvectors(
    matrices: Complex[Array, "*pixel coil coil"], n: int
) -> tuple[Complex[Array, "n *pixel coil"], Float[Array, "n *pixel"]]:
    """The `n` eigenpairs of largest eigenvalue, the largest first."""
    values, vectors = jnp.linalg.eigh(matrices)
    return (
        jnp.moveaxis(vectors[..., -n:][..., ::-1], -1, 0),
        jnp.moveaxis(values[..., -n:][..., ::-1], -1, 0),
    )


def map_rows(
    function: Callable[[Int[Array, " rows"]], _Tree], n_rows: int, elements_per_row: int
) -> _Tree:
    """Evaluate `function(row_indices)` in blocks of rows, which bounds its temporaries.

    Args:
        function: takes the indices of a block of rows, returns arrays whose *first* axis is the
            block's rows. Indices of the last block are clipped to `n_rows - 1`; what they give is
            dropped.
        n_rows: number of rows in all.
        elements_per_row: size of the temporaries for one row.
    """
    block = min(n_rows, max(1, _BLOCK_ELEMENTS // elements_per_row))
    n_blocks = -(-n_rows // block)
    rows = jnp.minimum(jnp.arange(n_blocks * block), n_rows - 1).reshape(n_blocks, block)
    blocks = jax.lax.map(function, rows)
    return jax.tree.map(lambda b: b.reshape(-1, *b.shape[2:])[:n_rows], blocks)
