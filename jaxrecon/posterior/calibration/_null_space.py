"""Which part of an image was measured and which part was made up: hallucination maps.

    x = P x + (I − P) x,   P = A⁺A                                                           (1)

P projects onto what A can see (the range of Aᴴ); (I − P) x leaves the data as they are, so that it
comes from the prior, or from nothing. Small singular values are seen in theory only. With a damping
s, in the units of AᴴA (such as the noise's variance over the prior's), components fade out softly:

    P_s = (AᴴA + s)⁻¹ AᴴA                                                                    (2)

Closed forms where the operator has them: circular AᴴA by its spectrum; P_s through
`shifted_inverse`; P through a closed pseudo-inverse. Otherwise by conjugate gradients on `A.gram`
from zero, for P preconditioned by `shifted_inverse` where there is one. Stopped at a tolerance,
they count directions that they have not reached yet as unseen: that is a damping, too. In a
spectrum, singular values below about 1e-3 of the greatest (in double precision 5e-8) count as zero.

Source: Bhadra, Kelkar, Brooks, Anastasio, "On hallucinations in tomographic image reconstruction",
IEEE Trans. Med. Imaging 40 (2021).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Circulant, LinearOperator, Result, Status, identity, run, tree
from jaxrecon.core._algorithm import CONVERGED
from jaxrecon.solvers.linear import ConjugateGradient, LinearSystem, PseudoInverse, pseudo_inverse


class Components(NamedTuple):
    """An image as the sum of two, equation (1)."""

    measured: Any
    """P x: what the data determine."""
    unseen: Any
    """(I − P) x: what they say nothing about."""
    status: Status
    """Whether the conjugate gradients converged; converged, too, where there is a closed form."""


def null_space_split(
    A: LinearOperator,
    image: PyTree,
    *,
    damping: Any = None,
    n_iter: int = 100,
    tol: float = 1e-5,
) -> Components:
    """Splits an image into what an operator measures of it and its null space, equation (1).

    Linear in the image; several images by `jax.vmap`.

    Args:
        A: the forward model.
        image: an element of its domain.
        damping: s of equation (2), a positive scalar in the units of AᴴA; the sharp projector of
            equation (1) by default.
        n_iter: conjugate gradients at most, where there is no closed form.
        tol: their relative residual to stop at.

    Returns:
        Both components, in the units of the image, and how the solve ended.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> A = diagonal(jnp.array([2.0, 0.0]), jnp.zeros(2))
        >>> parts = null_space_split(A, jnp.array([3.0, 5.0]))
        >>> parts.measured.tolist(), parts.unseen.tolist()
        ([3.0, 0.0], [0.0, 5.0])
    """
    found = _closed(A, image) if damping is None else _closed_damped(A, image, damping)
    status = Status(jnp.asarray(CONVERGED))
    if found is None:
        result = _solve(A, image, damping, n_iter, tol)
        found, status = result.value, result.status
    return Components(found, tree.sub(image, found), status)


def hallucination_maps(
    A: LinearOperator,
    image: PyTree,
    reference: PyTree,
    *,
    damping: Any = None,
    n_iter: int = 100,
    tol: float = 1e-5,
) -> Components:
    """What an image has and its reference has not, apart in measured and null space.

    With the truth as reference these are its errors: against the data, and made up. With a
    reconstruction without a prior, such as A⁺y, the measured part is where the image leaves the
    data and the unseen part all that the prior has added, right or wrong.

    Args:
        A: the forward model.
        image: the reconstruction.
        reference: what it is compared to, in the domain too.
        damping: see `null_space_split`.
        n_iter: see `null_space_split`.
        tol: see `null_space_split`.

    Returns:
        The components of image − reference.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> A = diagonal(jnp.array([2.0, 0.0]), jnp.zeros(2))
        >>> hallucination_maps(A, jnp.array([3.0, 5.0]), jnp.array([3.0, 0.0])).unseen.tolist()
        [0.0, 5.0]
    """
    difference = tree.sub(image, reference)
    return null_space_split(A, difference, damping=damping, n_iter=n_iter, tol=tol)


def _closed(A: LinearOperator, image: PyTree) -> PyTree | None:
    """P x of equation (1), or None."""
    spectrum = A.gram_spectrum()
    if spectrum is not None:
        floor = 10 * jnp.finfo(spectrum.dtype).eps * jnp.max(spectrum)
        return Circulant((spectrum > floor).astype(spectrum.dtype), A.domain).forward(image)
    inverse = pseudo_inverse(A)
    return None if isinstance(inverse, PseudoInverse) else inverse.forward(A.forward(image))


def _closed_damped(A: LinearOperator, image: PyTree, damping: Any) -> PyTree | None:
    """P_s x of equation (2), or None."""
    inverse = A.shifted_inverse(damping)
    return None if inverse is None else inverse.forward(A.gram.forward(image))


def _solve(A: LinearOperator, image: PyTree, damping: Any, n_iter: int, tol: float) -> Result:
    """(AᴴA + s) u = AᴴA x by conjugate gradients from zero, which stay in the range of Aᴴ."""
    gram, inverse = A.gram, None
    rhs = gram.forward(image)
    if damping is not None:
        gram = gram + damping * identity(A.domain)
    else:
        inverse = A.shifted_inverse(_shift(image, rhs))
    return run(ConjugateGradient(), LinearSystem(gram, rhs, inverse), n_iter=n_iter, tol=tol)


def _shift(image: PyTree, rhs: PyTree) -> Array:
    """A thousandth of the image's mean eigenvalue: it decides the speed, not the result."""
    energy = tree.sum_of_squares(image)
    mean = tree.dot(image, rhs) / jnp.where(energy > 0, energy, 1)
    return jnp.where(mean > 0, 1e-3 * mean, 1)
