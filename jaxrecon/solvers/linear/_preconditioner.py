"""Preconditioners M ≈ G⁻¹ for a Hermitian positive G: by its diagonal, and by its spectrum.

Neither needs the entries of G. Jacobi's takes the diagonal, estimated with random signs (Bekas,
Kokiopoulou, Saad, Appl. Numer. Math. 57, 2007),

    diag(G) ≈ mean_k v_k ⊙ G v_k,     the entries of v_k being ±1,                              (1)

and suits grams whose rows differ in size. The circulant one takes the response to one impulse at
the centre for the response everywhere (Fessler and Booth, IEEE Trans. Image Process. 8, 1999), and
suits grams that are nearly shift-invariant: tomography, density-weighted k-space, differences.
No gradient flows through either: a preconditioner changes the path, not the solution.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Circulant, LinearOperator, block_diagonal, diagonal, tree


def jacobi(
    G: LinearOperator, key: Key[Array, ""], *, n_probes: int = 32, floor: float = 1e-3
) -> LinearOperator:
    """Division by the diagonal of G.

    Args:
        G: Hermitian and positive, on one array or a tuple of arrays.
        key: for the probes.
        n_probes: applications of G; the error falls with the root of their number, and is zero
            from the first on for a diagonal G.
        floor: smallest diagonal entry, relative to the largest, that is divided by.

    Returns:
        M, positive.

    Raises:
        ValueError: the domain is neither an array nor a tuple of arrays.

    Example:
        >>> G = diagonal(jnp.array([2.0, 4.0]), jnp.zeros(2))
        >>> jacobi(G, jax.random.key(0))(jnp.ones(2)).tolist()
        [0.5, 0.25]
    """
    entries = jax.lax.stop_gradient(estimate_diagonal(G, key, n_probes=n_probes))
    leaves, structs = jax.tree.leaves(entries), jax.tree.leaves(G.domain)
    smallest = floor * jnp.max(jnp.stack([jnp.max(d) for d in leaves]))
    parts = [diagonal(1 / jnp.maximum(d, smallest), s) for d, s in zip(leaves, structs)]
    if isinstance(G.domain, jax.ShapeDtypeStruct):
        return parts[0]
    if jax.tree.structure(G.domain) != jax.tree.structure(tuple(structs)):
        raise ValueError(
            f"`G` has the domain {G.domain}, expected an array or a flat tuple of arrays"
        )
    return block_diagonal(parts)


def estimate_diagonal(G: LinearOperator, key: Key[Array, ""], *, n_probes: int = 32) -> PyTree:
    """The real diagonal of a Hermitian operator by equation (1), one application of G a probe."""

    def add(total, key):
        signs = _random_signs(key, G.domain)
        product = jax.tree.map(lambda v, g: (v * g).real, signs, G.forward(signs))
        return tree.add(total, product), None

    start = jax.tree.map(jnp.real, tree.zeros(G.domain))
    total, _ = jax.lax.scan(add, start, jax.random.split(key, n_probes))
    return tree.scale(1 / n_probes, total)


def circulant(G: LinearOperator, *, floor: float = 1e-3) -> LinearOperator:
    """The inverse of the circular convolution that agrees with G on an impulse at the centre.

    It is exact for a circular convolution.

    Args:
        G: Hermitian and positive, on one array.
        floor: smallest eigenvalue, relative to the largest, that is divided by.

    Returns:
        M, positive.

    Raises:
        ValueError: the domain is not one array.

    Example:
        >>> from jaxrecon.core import gradient, identity
        >>> x = jnp.arange(12.0).reshape(3, 4)
        >>> G = gradient(x, boundary="periodic").gram + identity(x)
        >>> bool(jnp.allclose(circulant(G)(G(x)), x, atol=1e-4))
        True
    """
    struct = G.domain
    if not isinstance(struct, jax.ShapeDtypeStruct):
        raise ValueError(f"`G` has the domain {struct}, expected one array: use `jacobi`")
    centre = tuple(n // 2 for n in struct.shape)
    impulse = jnp.zeros(struct.shape, struct.dtype).at[centre].set(1)
    transforms = jnp.fft.fftn(impulse), jnp.fft.fftn(G.forward(impulse))
    eigenvalues = (jnp.conj(transforms[0]) * transforms[1]).real
    positive = jnp.maximum(eigenvalues, floor * jnp.max(eigenvalues))
    return Circulant(jax.lax.stop_gradient(1 / positive), struct)


def _random_signs(key: Key[Array, ""], structs: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(structs)
    keys = jax.random.split(key, len(leaves))
    signs = [jax.random.rademacher(k, s.shape).astype(s.dtype) for k, s in zip(keys, leaves)]
    return jax.tree.unflatten(structure, signs)
