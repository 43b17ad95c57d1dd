"""Gaussian noise of a level that is not known: s² ~ InverseGamma(a, b), beside the image.

    p(s² | x, y) = InverseGamma(a + n/2, b + ½ ‖A x − y‖²)                                  (1)
    −log ∫ p(y | x, s²) p(s²) ds² = (a + n/2) log(b + ½ ‖A x − y‖²)                         (2)

for n real data. `SplitGibbs` draws s² by (1); with (2) for a likelihood any sampler that takes
gradients has it integrated out. As a, b → 0 this is Jeffreys' prior, for which (2) has no lower
bound where A can fit the data exactly: keep b > 0 there.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import pytree, tree
from jaxrecon.functionals import Functional


@pytree
class InverseGamma:
    """The prior of a variance: its mode is b/(a + 1), and its weight that of 2a data.

    Attributes:
        shape: a.
        scale: b, in the units of the variance.
        n_data: n, for masked data that hold zeros where nothing was measured; real numbers count as
            one, complex ones as two. All data by default.
    """

    shape: Any
    scale: Any
    n_data: Any = None

    def draw(self, misfit: Array, data: PyTree, key: Key[Array, ""]) -> Array:
        """Equation (1), for a misfit of ½‖A x − y‖²."""
        gamma = jax.random.gamma(key, self.posterior_shape(data), dtype=misfit.dtype)
        return (self.scale + misfit) / gamma

    def posterior_shape(self, data: PyTree) -> Any:
        """The sum a + n/2."""
        n = count(data) if self.n_data is None else self.n_data
        return self.shape + n / 2


@pytree
class UnknownNoise(Functional):
    """Equation (2): data with Gaussian noise of unknown level; not convex.

    Attributes:
        data: y.
        prior: of the noise's variance.

    Example:
        >>> f = UnknownNoise(jnp.array([3.0, 4.0]), InverseGamma(1.0, 0.5))
        >>> round(float(f(jnp.zeros(2))), 3)  # 2 log 13
        5.13
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    convex: ClassVar[bool] = False

    data: Array
    prior: InverseGamma

    def __call__(self, x: Array) -> Array:
        return self.prior.posterior_shape(self.data) * jnp.log(self._rest(x))

    def grad(self, x: Array) -> Array:
        factor = self.prior.posterior_shape(self.data) / self._rest(x)
        return tree.scale(factor, tree.sub(x, self.data))

    def _rest(self, x: Array) -> Array:
        return self.prior.scale + 0.5 * tree.sum_of_squares(tree.sub(x, self.data))


def count(data: PyTree) -> int:
    """Real numbers in an array or a tree of them."""
    return sum(a.size * (2 if jnp.iscomplexobj(a) else 1) for a in jax.tree.leaves(data))
