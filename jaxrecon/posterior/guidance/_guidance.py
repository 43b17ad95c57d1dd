"""What a guidance is: E[x₀ | x_σ, y] for a sampler that comes down from noise.

    E[x₀ | x_σ, y] = D(x_σ) + σ² ∇ log p(y | x_σ),                                        (1)
    p(y | x_σ) = ∫ p(y | x₀) p(x₀ | x_σ) dx₀                                               (2)

The integral (2) is what nobody knows; guidances differ in what they put in its place. A guidance is
given one example; nothing is summed over a batch.
"""

import abc
from typing import Any, NamedTuple

from jaxtyping import PyTree

from jaxrecon.core import pytree
from jaxrecon.posterior._posterior import Posterior


class Estimate(NamedTuple):
    """What a sampler steps by: the estimate of x₀, and what is added to x after the step."""

    mean: Any
    shift: Any = None


class Guidance(abc.ABC):
    """How the data enter: a pytree with these methods."""

    def prepare(self, target: Posterior) -> Any:
        """What `estimate` is given: a place for work that is done once.

        Raises:
            ValueError: the likelihood is not of the kind that this guidance needs.
        """
        return target

    @abc.abstractmethod
    def estimate(self, prepared: Any, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        """E[x₀ | x_σ = x, y], or what stands for it; a draw of x₀ where a guidance uses the key.

        sigma is positive and may be traced.
        """


@pytree
class Unconditional(Guidance):
    """Samples the prior: the data are not looked at."""

    def estimate(self, prepared: Posterior, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        return Estimate(prepared.denoiser(x, sigma))
