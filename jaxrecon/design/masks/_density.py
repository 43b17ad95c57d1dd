"""Variable densities of few parameters, brought to the budget exactly.

    p = min(1, c d(k)),   d = (1 − ρ)^power   or   d = exp(−ρ²/2)                            (1)

at k in halves of the sampled width, from −1 to 1: ρ = |k − centre|/√axes for the power law, as in
`mri.random_mask`, and ρ = |(k − centre)/width| for the Gaussian. Differentiable in all parameters,
also through `c`.

Source of the power law: Lustig et al., "Sparse MRI", MRM 58 (2007).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxrecon.core import pytree, replace, static
from jaxrecon.design.masks._budget import scale_to_budget
from jaxrecon.design.masks._pattern import MaskPattern

__all__ = ["GaussianDensity", "PowerLaw"]

_LEAST_DENSITY, _LEAST_WIDTH = 1e-3, 1e-2


@pytree
class PowerLaw(MaskPattern):
    """Equation (1) with a power; build it with `power_law`.

    Attributes:
        power: exponent, non-negative; 0 is uniform.
        centre: of the density, `(axis,)`, in halves of the sampled width.
        fixed: positions that are measured always.
        budget: how many positions are measured, the fixed ones included.
        shape: of the mask.
    """

    power: Float[Array, ""]
    centre: Float[Array, " axis"]
    fixed: Bool[Array, " position"]
    budget: int = static()
    shape: tuple[int, ...] = static()

    def inclusion(self) -> Float[Array, " position"]:
        axes = self.centre.size
        squares = jnp.sum((coordinates(self.shape) - self.centre) ** 2, -1) / axes
        # √ has no derivative at k = centre, where the density does not depend on it either.
        rho = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        density = jnp.maximum(1 - rho, _LEAST_DENSITY) ** self.power
        return scale_to_budget(density, self.budget, self.fixed)

    def project(self) -> "PowerLaw":
        """With a power that is not negative and a centre inside."""
        return replace(self, power=jnp.maximum(self.power, 0), centre=jnp.clip(self.centre, -1, 1))


@pytree
class GaussianDensity(MaskPattern):
    """Equation (1) with a width for each axis; build it with `gaussian`.

    Attributes:
        width: standard deviations `(axis,)`, in halves of the sampled width.
        centre: of the density, `(axis,)`, likewise.
        fixed: positions that are measured always.
        budget: how many positions are measured, the fixed ones included.
        shape: of the mask.
    """

    width: Float[Array, " axis"]
    centre: Float[Array, " axis"]
    fixed: Bool[Array, " position"]
    budget: int = static()
    shape: tuple[int, ...] = static()

    def inclusion(self) -> Float[Array, " position"]:
        away = (coordinates(self.shape) - self.centre) / self.width
        density = jnp.exp(-jnp.minimum(jnp.sum(away**2, -1) / 2, 60))
        return scale_to_budget(density, self.budget, self.fixed)

    def project(self) -> "GaussianDensity":
        """With widths above a hundredth and a centre inside."""
        centre = jnp.clip(self.centre, -1, 1)
        return replace(self, width=jnp.maximum(self.width, _LEAST_WIDTH), centre=centre)


def coordinates(shape: tuple[int, ...]) -> Float[np.ndarray, "position axis"]:
    """Where every position lies, −1 to 1, along the axes that are longer than one."""
    axes = [(np.arange(n) - n // 2) / (n // 2 + 1) for n in shape if n > 1]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.stack([g.ravel() for g in grid], -1)
