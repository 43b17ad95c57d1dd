"""The linear estimator of least mean squared error, learned from pairs of image and measurement.

    x̂(y) = x̄ + K (y − ȳ),     K = C_xy ((1 − ρ) C_yy + ρ τ I)⁻¹ (1 − ρ),   τ = tr C_yy / m       (1)

with sample means and covariances, shrunk by ρ towards a multiple of the identity; ρ = 0 is plain
regression, which few samples do not determine. For Gaussian images and noise (1) tends to the
posterior mean. It is computed through the singular values of the n centred measurements, so that no
covariance is ever formed: memory is that of the data, K has rank at most n.

Images that are real with measurements that are complex are estimated from real and imaginary parts
(widely linear); between complex images and complex measurements K is complex-linear.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PyTree

from jaxrecon.core import LinearOperator, operator, pytree, static, tree
from jaxrecon.solvers.linear._singular import flatten, product, unflatten


@operator
class LowRank(LinearOperator):
    """y ↦ L R y between pytrees of arrays, flattened; from `linear_mmse`."""

    left: Inexact[Array, "n r"]
    right: Inexact[Array, "r m"]
    structs: tuple[PyTree, PyTree] = static()

    @property
    def domain(self) -> PyTree:
        return self.structs[0]

    @property
    def range(self) -> PyTree:
        return self.structs[1]

    def forward(self, x: Any) -> Any:
        v = product(self.left, product(self.right, flatten(x, self._complex)))
        return unflatten(v, self.range, self._complex)

    def adjoint(self, y: Any) -> Any:
        v = flatten(y, self._complex)
        v = product(self.right.conj().T, product(self.left.conj().T, v))
        return unflatten(v, self.domain, self._complex)

    @property
    def _complex(self) -> bool:
        return jnp.iscomplexobj(self.left)


@pytree
class LinearEstimator:
    """Equation (1), from `linear_mmse`: called with measurements it gives the image.

    Attributes:
        image_mean: x̄.
        measurement_mean: ȳ.
        gain: K, a `LinearOperator` from measurements to images.
        shrinkage: ρ.
    """

    image_mean: Any
    measurement_mean: Any
    gain: LinearOperator
    shrinkage: Array

    def __call__(self, y: PyTree) -> PyTree:
        """The estimate of one image from one measurement."""
        return tree.add(self.image_mean, self.gain(tree.sub(y, self.measurement_mean)))


def linear_mmse(images: PyTree, measurements: PyTree, shrinkage: Any = None) -> LinearEstimator:
    """Learns the estimator (1) from pairs.

    Args:
        images: examples along the leading axis of every leaf.
        measurements: theirs, in the same order, with their noise.
        shrinkage: ρ between 0 and 1; by default the one that Ledoit and Wolf estimate to bring the
            covariance of the measurements closest to the true one (J. Multivar. Anal. 88, 2004).

    Returns:
        The estimator; `jax.vmap` it over measurements.

    Raises:
        ValueError: the numbers of images and measurements differ, or are below two.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (200, 3))
        >>> estimate = linear_mmse(x, 2 * x + 1, shrinkage=0.0)
        >>> estimate(jnp.array([3.0, 2.0, -1.0])).round(2).tolist()
        [1.0, 0.5, -1.0]
    """
    n = _count(images, measurements)
    centred = [_centred(examples) for examples in (images, measurements)]
    (x_mean, x), (y_mean, y) = centred
    structs = tree.structs(y_mean), tree.structs(x_mean)
    is_complex = all(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves((x_mean, y_mean)))
    X, Y = (jax.vmap(lambda e: flatten(e, is_complex))(e) for e in (x, y))

    # Y = U diag(s) Vᴴ row by row, so C_yy = conj(V) s² Vᵀ / n and C_xy = Xᵀ conj(U) s Vᵀ / n.
    U, s, VH = jnp.linalg.svd(Y, full_matrices=False)
    rho = _ledoit_wolf(Y, s) if shrinkage is None else jnp.asarray(shrinkage, s.dtype)
    noise = rho * jnp.sum(s**2) / Y.shape[1]
    spread = (1 - rho) * s**2 + noise
    determined = spread > (jnp.finfo(s.dtype).eps * n) ** 2 * s[0] ** 2
    factors = jnp.where(determined, (1 - rho) * s / jnp.where(determined, spread, 1), 0)
    left = product(X.T, U.conj()) * factors
    return LinearEstimator(x_mean, y_mean, LowRank(left, VH.conj(), structs), rho)


def _ledoit_wolf(Y: Inexact[Array, "n m"], s: Float[Array, "r"]) -> Float[Array, ""]:
    """ρ = b²/d²: the error of the sample covariance over its distance from τ I."""
    n, m = Y.shape
    tau = jnp.sum(s**2) / (n * m)
    squared_norm = jnp.sum(s**4) / n**2
    distance = squared_norm / m - tau**2
    fourth = jnp.sum(jnp.sum(jnp.abs(Y) ** 2, 1) ** 2)
    error = (fourth / n**2 - squared_norm / n) / m
    return jnp.clip(error / jnp.where(distance > 0, distance, 1), 0, 1)


def _count(images: PyTree, measurements: PyTree) -> int:
    counts = [{leaf.shape[0] for leaf in jax.tree.leaves(t)} for t in (images, measurements)]
    if len(counts[0] | counts[1]) != 1 or min(counts[0]) < 2:
        raise ValueError(
            f"`images` has {sorted(counts[0])} and `measurements` {sorted(counts[1])} examples on "
            "the leading axes, expected one number of at least 2"
        )
    return counts[0].pop()


def _centred(examples: PyTree) -> tuple[PyTree, PyTree]:
    mean = jax.tree.map(lambda leaf: jnp.mean(leaf, 0), examples)
    return mean, jax.tree.map(lambda leaf, m: leaf - m[None], examples, mean)
