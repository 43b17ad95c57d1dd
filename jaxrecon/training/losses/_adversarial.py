"""Adversarial training: a critic learns to tell reconstructions from images, the reconstructor to
be taken for one.

With real scores r = D(x), fake scores f = D(net(A, y)) and means over scores (a critic of patches
gives many for an image),

    game             critic minimises                       reconstructor minimises
    least squares    ½ (r − 1)² + ½ f²                      ½ (f − 1)²                     (1)
    hinge            max(0, 1 − r) + max(0, 1 + f)          −f                             (2)
    Wasserstein      f − r + λ (‖∇D(u)‖ − 1)²               −f                             (3)

where u lies at random on the line between a real and a fake image (the gradient penalty).

Source: Mao et al., "Least squares generative adversarial networks", ICCV 2017; Lim and Ye,
"Geometric GAN", 2017; Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.
Images of a reconstructor: Mardani et al., IEEE Trans. Med. Imaging 38 (2019).
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from jaxrecon.core import pytree, static, tree
from jaxrecon.nets.layers import to_channels
from jaxrecon.training.losses._loss import Batch, Metrics, entries

Score = Callable[[Array], Array]


class Game(abc.ABC):
    """What critic and reconstructor want of the critic's scores; means over scores."""

    @abc.abstractmethod
    def critic(self, real: Float[Array, "..."], fake: Float[Array, "..."]) -> Float[Array, ""]:
        """What the critic minimises, without a penalty."""

    @abc.abstractmethod
    def reconstructor(self, fake: Float[Array, "..."]) -> Float[Array, ""]:
        """What the reconstructor minimises."""

    def penalty(self, score: Score, real: Array, fake: Array, key: Key[Array, ""]) -> Array:
        """What the critic minimises besides, of the score as a function of an image."""
        del score, real, fake, key
        return jnp.zeros(())


@pytree
class LeastSquaresGame(Game):
    """Scores of 1 for real and 0 for fake images, equation (1)."""

    def critic(self, real: Float[Array, "..."], fake: Float[Array, "..."]) -> Float[Array, ""]:
        return 0.5 * jnp.mean((real - 1) ** 2) + 0.5 * jnp.mean(fake**2)

    def reconstructor(self, fake: Float[Array, "..."]) -> Float[Array, ""]:
        return 0.5 * jnp.mean((fake - 1) ** 2)


@pytree
class HingeGame(Game):
    """Scores above 1 for real and below −1 for fake images, equation (2)."""

    def critic(self, real: Float[Array, "..."], fake: Float[Array, "..."]) -> Float[Array, ""]:
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))

    def reconstructor(self, fake: Float[Array, "..."]) -> Float[Array, ""]:
        return -jnp.mean(fake)


@pytree
class WassersteinGame(Game):
    """The earth mover's distance with a gradient penalty, equation (3).

    The critic must not normalise over a batch.

    Attributes:
        weight: λ; 0 leaves the penalty out.
    """

    weight: Any = 10.0

    def critic(self, real: Float[Array, "..."], fake: Float[Array, "..."]) -> Float[Array, ""]:
        return jnp.mean(fake) - jnp.mean(real)

    def reconstructor(self, fake: Float[Array, "..."]) -> Float[Array, ""]:
        return -jnp.mean(fake)

    def penalty(self, score: Score, real: Array, fake: Array, key: Key[Array, ""]) -> Array:
        return self.weight * gradient_penalty(score, real, fake, key)


def gradient_penalty(
    score: Score, real: Array, fake: Array, key: Key[Array, ""], *, target: Any = 1.0
) -> Float[Array, ""]:
    """(‖∇D(u)‖ − target)² at a random point u between two images of one example.

    D is the mean of the critic's scores. For complex images the gradient's norm is that of both
    parts.

    Example:
        >>> w = jnp.array([3.0, 4.0])
        >>> image = jnp.ones(2)
        >>> float(gradient_penalty(lambda x: w @ x, image, 0 * image, jax.random.key(0)))
        16.0
    """
    between = jax.random.uniform(key, (), real.real.dtype)
    u = between * real + (1 - between) * fake
    slope = jax.grad(lambda u: jnp.mean(score(u)))(u)
    return (tree.norm(slope) - target) ** 2


@pytree
class CriticLoss:
    """The critic's loss, on one example, with the reconstructor as it is.

    Real images are batch["real"] if it is there (unpaired), else batch["x"].

    Attributes:
        reconstructor: its parameters and other arrays.
        game: a `Game`.
        graph: the reconstructor's.
    """

    reconstructor: tuple[Any, Any]
    game: Any
    graph: Any = static()

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a critic, which is `net`."""
        y, A = entries(batch, "y", "A")
        real = batch["real"] if "real" in batch else entries(batch, "x")[0]
        fake = jax.lax.stop_gradient(_frozen(self.graph, self.reconstructor)(A, y))
        score = lambda image: net(to_channels(image))  # noqa: E731
        r, f = score(real), score(fake)
        penalty = self.game.penalty(score, real, fake, key)
        metrics = {"real": jnp.mean(r), "fake": jnp.mean(f), "penalty": penalty}
        return self.game.critic(r, f) + penalty, metrics


@pytree
class ReconstructorLoss:
    """content + weight · the game, on one example, with the critic as it is.

    Attributes:
        critic: its parameters and other arrays.
        game: a `Game`.
        content: distance ``d(prediction, target)`` to the truth, or None without.
        weight: of the game.
        graph: the critic's.
    """

    critic: tuple[Any, Any]
    game: Any
    content: Any
    weight: Any
    graph: Any = static()

    def __call__(self, net: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        """The loss of a reconstructor."""
        del key
        y, A = entries(batch, "y", "A")
        image = net(A, y)
        critic = _frozen(self.graph, self.critic)
        game = self.game.reconstructor(critic(to_channels(image)))
        if self.content is None:
            return self.weight * game, {"game": game}
        content = self.content(image, entries(batch, "x")[0])
        return content + self.weight * game, {"game": game, "content": content}


def _frozen(graph: Any, arrays: tuple[Any, Any]) -> Any:
    """The network of these arrays, in evaluation mode."""
    net = nnx.merge(graph, *arrays)
    net.eval()
    return net
