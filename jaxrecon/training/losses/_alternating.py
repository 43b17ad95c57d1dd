"""The training step of two networks in turn, a pure function on arrays.

Critic and reconstructor each have a `TrainState` of their own and train by `train_step`, with a
loss that holds the other one's arrays: averaging of weights, accumulation, sharding and the refusal
of steps that are not finite are those of any training.
"""

from typing import Any

import jax
import optax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import pytree, static
from jaxrecon.training._state import TrainState, create_state
from jaxrecon.training._step import train_step
from jaxrecon.training.losses._adversarial import CriticLoss, LeastSquaresGame, ReconstructorLoss
from jaxrecon.training.losses._loss import Metrics, as_pytree
from jaxrecon.training.losses.image import l1


@pytree
class AdversarialState:
    """The states of both networks.

    Attributes:
        reconstructor: its training state; what is used afterwards.
        critic: the critic's.
    """

    reconstructor: TrainState
    critic: TrainState


@pytree
class AdversarialStep:
    """``step(graphdefs, state, batch) -> (state, metrics)``, pure; see `adversarial_step`."""

    game: Any
    content: Any
    weight: Any
    optimisers: tuple[optax.GradientTransformation, optax.GradientTransformation] = static()
    n_critic: int = static(default=1)
    ema_decay: float | None = static(default=None)

    def init(
        self, reconstructor: nnx.Module, critic: nnx.Module, *, key: Key[Array, ""]
    ) -> tuple[tuple[nnx.GraphDef, nnx.GraphDef], AdversarialState]:
        """The static graphs and the state to start from.

        Args:
            reconstructor: ``net(A, y) -> x``.
            critic: ``critic(image)`` gives scores of ``(..., y, x, channel)``.
            key: the root of all randomness in training.
        """
        keys = jax.random.split(key)
        optimiser, critic_optimiser = self.optimisers
        ema = self.ema_decay is not None
        graph, state = create_state(reconstructor, optimiser, key=keys[0], ema=ema)
        critic_graph, critic_state = create_state(critic, critic_optimiser, key=keys[1])
        return (graph, critic_graph), AdversarialState(state, critic_state)

    def __call__(
        self,
        graphdefs: tuple[nnx.GraphDef, nnx.GraphDef],
        state: AdversarialState,
        batch: PyTree,
    ) -> tuple[AdversarialState, Metrics]:
        """Some steps of the critic, then one of the reconstructor, on one batch."""
        graph, critic_graph = graphdefs
        optimiser, critic_optimiser = self.optimisers
        net, critic = state.reconstructor, state.critic
        seen: dict[str, Array] = {}
        for _ in range(self.n_critic):
            loss = CriticLoss((net.params, net.others), self.game, graph)
            critic, seen = train_step(loss, critic_optimiser)(critic_graph, critic, batch)
        loss = ReconstructorLoss(
            (critic.params, critic.others), self.game, self.content, self.weight, critic_graph
        )
        step = train_step(loss, optimiser, ema_decay=self.ema_decay)
        net, metrics = step(graph, net, batch)
        metrics |= {f"critic.{name}": m for name, m in seen.items()}
        return AdversarialState(net, critic), metrics


def adversarial_step(
    optimiser: optax.GradientTransformation,
    critic_optimiser: optax.GradientTransformation,
    *,
    game: Any = None,
    content: Any = l1,
    weight: Any = 1e-2,
    n_critic: int = 1,
    ema_decay: float | None = None,
) -> AdversarialStep:
    """The pure step of adversarial training.

    Args:
        optimiser: of the reconstructor.
        critic_optimiser: of the critic.
        game: `LeastSquaresGame` (default), `HingeGame` or `WassersteinGame`.
        content: distance to the truth that the game is added to, also a `Perceptual`; None for the
            game alone (unpaired images in batch["real"]).
        weight: of the game.
        n_critic: steps of the critic for each one of the reconstructor; 5 is usual for Wasserstein.
        ema_decay: of a moving average of the reconstructor's parameters, or None.

    Raises:
        ValueError: `n_critic` below 1.

    Example:
        >>> step = adversarial_step(optax.adam(1e-4), optax.adam(4e-4), game=LeastSquaresGame())
        >>> step.n_critic
        1
    """
    if n_critic < 1:
        raise ValueError(f"`n_critic` is {n_critic}, expected at least 1")
    game = LeastSquaresGame() if game is None else game
    content = None if content is None else as_pytree(content)
    optimisers = (optimiser, critic_optimiser)
    return AdversarialStep(game, content, weight, optimisers, n_critic, ema_decay)
