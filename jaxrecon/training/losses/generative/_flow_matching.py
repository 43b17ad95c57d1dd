"""Flow matching on straight paths: rectified flow.

    x_t = (1 − t) x₀ + t n,      E ‖v(x_t, t) − (n − x₀)‖²/N                               (1)

is least for v = E[n − x₀ | x_t], along which noise at t = 1 flows to images at t = 0 (Lipman et
al., ICLR 2023; Liu, Gong and Liu, ICLR 2023). `posterior.FromVelocity` makes it a denoiser. It is
`DenoisingScoreMatching` of that with `velocity_weight`, in numbers that stay finite at both ends.
"""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from jaxrecon.core import pytree, tree
from jaxrecon.training.losses._loss import Batch, Metrics, entries
from jaxrecon.training.losses.generative._denoising import conditioned, mean_square


@pytree
class LogitNormal:
    """ln(t/(1 − t)) ~ N(mean, deviation²): more of the times in the middle than of the ends.

    Esser et al., ICML 2024. As ln σ of `LogNormal`: σ = t/(1 − t).
    """

    mean: Any = 0.0
    deviation: Any = 1.0

    def __call__(self, key: Key[Array, ""]) -> Float[Array, ""]:
        """One time."""
        return jax.nn.sigmoid(self.mean + self.deviation * jax.random.normal(key))


@pytree
class FlowMatching:
    """Equation (1), for a network ``net(x, t)`` with t from 0, the image, to 1, the noise.

    The batch is as for `DenoisingScoreMatching`.

    Attributes:
        times: ``times(key) -> t``: `LogitNormal`, or None for uniform ones.
        dropped: how often a condition is replaced by zeros.

    Example:
        >>> still = lambda x, t: 0 * x
        >>> value, _ = FlowMatching()(still, {"x": jax.numpy.zeros((64, 64))}, jax.random.key(0))
        >>> bool(abs(value - 1) < 0.1)  # the mean square of noise
        True
    """

    times: Any = None
    dropped: Any = 0.0

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a network.

        Raises:
            ValueError: the batch has no "x".
        """
        (x,) = entries(batch, "x")
        key_time, key_noise, key_drop = jax.random.split(key, 3)
        draw = jax.random.uniform if self.times is None else self.times
        t = draw(key_time).astype(x.real.dtype)
        noise = tree.standard_noise(key_noise, x)
        velocity = conditioned(net, batch, key_drop, self.dropped)((1 - t) * x + t * noise, t)
        return mean_square(velocity - (noise - x)), {}
