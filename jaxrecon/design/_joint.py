"""A pattern and the network that reconstructs from it, trained together by the ordinary `Trainer`.

    min_{θ, w} E_x ℓ(N_w(A, y), x),   A, y = scan(θ, key, t, x)                              (1)

`Joint` is the network to train, `joint_loss` the loss and `joint_optimiser` the step, with the
projection Π onto what the scanner can do. Sharding, accumulation, checkpoints and resuming are the
`Trainer`'s: the pattern's parameters are parameters like others, every example draws its own mask
by its own key, and the step t to which a relaxation anneals is stored with the network.

A position whose amplitude in A is exactly zero has no derivative behind Aᴴ, neither through a hard
mask nor straight through one. Give `mri.sense` the amplitude √(mask + 1e-6), and the same to data,
noise included, as `criteria.sampling_error` does.

Sources: Bahadir, Wang, Dalca and Sabuncu, "Deep-learning-based optimization of the under-sampling
pattern in MRI" (LOUPE), IEEE Trans. Comput. Imaging 6 (2020); Aggarwal and Jacob, "J-MoDL", IEEE J.
Sel. Top. Signal Process. 14 (2020).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import pytree, static
from jaxrecon.design._optimise import Constant, _callable_pytree, _is_free
from jaxrecon.training.input import simulated

__all__ = ["Joint", "JointLoss", "joint_loss", "joint_optimiser"]


class Joint(nnx.Module):
    """A pattern beside a reconstruction network; itself one, ``joint(A, y)``.

    Args:
        pattern: any pytree, as `design.optimise` takes it: its real and complex arrays are
            parameters, integers, booleans, keys and what stands in a `Constant` are not.
        network: ``network(A, y) -> x``, a module, or a function that has nothing to train.

    Attributes:
        network: as given.
        step: how often the pattern was trained on a batch (with ``n_parts`` on a part of one).

    Raises:
        ValueError: the pattern has nothing to optimise.

    Example:
        >>> from jaxrecon.design import masks
        >>> from jaxrecon.nets.reconstruction import ConvNet, modl
        >>> network = modl(ConvNet(2, 2, widths=(4,), rngs=nnx.Rngs(0)), n_iter=2)
        >>> joint = Joint(masks.lines(16, 4, calibration=2), network)
        >>> joint.design().most_probable().sum().item()
        4
    """

    def __init__(self, pattern: PyTree, network: Callable[[Any, Any], Any]):
        pattern = jax.tree.map(jnp.asarray, pattern)
        leaves, self.structure = jax.tree.flatten(pattern)
        self.free = _free(pattern)
        if not any(self.free):
            raise ValueError("`pattern` has no leaf of real or complex numbers: nothing to train")
        free, constant = _parted(leaves, self.free)
        self.pattern = nnx.List([nnx.Param(leaf) for leaf in free])
        self.constants = nnx.List([nnx.Variable(leaf) for leaf in constant])
        self.network = network
        self.step = nnx.Variable(jnp.zeros((), jnp.int32))
        self.deterministic = True  # flax's name for what `train()` and `eval()` switch

    def __call__(self, A: Any, y: PyTree) -> PyTree:
        """The image behind measurements of one example."""
        return self.network(A, y)

    def design(self) -> Any:
        """The pattern as it is now."""
        return self.pattern_of([leaf[...] for leaf in self.pattern])

    def pattern_of(self, free: Sequence[Array]) -> Any:
        """The pattern with these parameters."""
        parameters, constants = iter(free), iter(self.constants)
        leaves = [next(parameters) if is_free else next(constants)[...] for is_free in self.free]
        return jax.tree.unflatten(self.structure, leaves)

    def parameters_of(self, pattern: Any) -> list[Array]:
        """The parameters of a pattern, in the order of `pattern_of`."""
        return _parted(jax.tree.leaves(pattern), self.free)[0]


@pytree
class JointLoss:
    """The ℓ of equation (1) for one example; build it with `joint_loss`."""

    loss: Any
    scan: Any
    name: str = static()

    def __call__(
        self, net: Joint, batch: dict[str, Any], key: Key[Array, ""]
    ) -> tuple[Array, dict]:
        """What the inner loss says of the network, on the scan of an object."""
        pattern, step = net.design(), net.step[...]
        measure = lambda key, x: self.scan(pattern, key, step, x)  # noqa: E731
        if not net.deterministic:
            net.step.set_value(step + 1)
        return simulated(self.loss, measure, name=self.name)(net.network, batch, key)


def joint_loss(loss: Any, scan: Callable[..., tuple[Any, ...]], *, name: str = "x") -> JointLoss:
    """A loss for `Trainer` that scans each object with the pattern of a `Joint`.

    A `Trainer` may be given another for its `evaluation`, such as one with the mask that will be
    used in the end, ``pattern.most_probable()``.

    Args:
        loss: of the network, as those of `training.losses`: it is given "A", "y" and "x".
        scan: ``scan(pattern, key, step, x) -> (A, y)``, or ``(A, y, truth)`` where the object is
            not the truth; here masks are drawn, by `gumbel`, `relaxed` or `straight_through`, and
            cooled with the step, an integer array. A pytree callable if it carries arrays.
        name: under which the batch holds its objects.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> from jaxrecon.design import masks
        >>> from jaxrecon.training.losses import l2, supervised
        >>> cooling = masks.geometric(1.0, 0.1, 100)
        >>> def scan(pattern, key, step, x):
        ...     A = diagonal(pattern.relaxed(key, cooling(step)), x)
        ...     return A, A(x)
        >>> loss = joint_loss(supervised(l2), scan)
        >>> joint = Joint(masks.rows(4, 2), lambda A, y: A.H(y))
        >>> value, _ = loss(joint, {"x": jnp.ones(4)}, jax.random.key(0))
        >>> bool(value > 0)
        True
    """
    return JointLoss(_callable_pytree(loss), _callable_pytree(scan), name)


def joint_optimiser(
    joint: Joint,
    *,
    pattern: optax.GradientTransformation,
    network: optax.GradientTransformation | None = None,
    project: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """The optimiser of a `Joint`: one for each of the two, and the projection after every step.

    Feasible is the sum of parameters and update to rounding; budgets of masks are exact in any
    case, as their draws are.

    Args:
        joint: what will be trained; its constants are those of the projection.
        pattern: for the pattern's parameters, which are logits, doses, cycles: steps of another
            size than those of weights.
        network: for the weights; None where they are not trained
            (``Trainer(..., trainable=nnx.PathContains("pattern"))``).
        project: ``project(pattern)``, such as `masks.project`; None where all is allowed.

    Raises:
        ValueError: when training begins, a network without its optimiser.

    Example:
        >>> from jaxrecon.design import masks
        >>> joint = Joint(masks.dose(4, 1.0), nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
        >>> options = {"pattern": optax.sgd(0.1), "network": optax.adam(1e-3)}
        >>> optimiser = joint_optimiser(joint, project=masks.project, **options)
    """
    optimisers = {"pattern": pattern, "network": network}

    def init(params: Any) -> dict[str, Any]:
        if network is None and "network" in params:
            raise ValueError(
                "`network` is None, but its weights are trained: pass their optimiser, or "
                '`Trainer(..., trainable=nnx.PathContains("pattern"))`'
            )
        return {name: optimisers[name].init(part) for name, part in params.items()}

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moves, after = {}, {}
        for name, part in params.items():
            moves[name], after[name] = optimisers[name].update(updates[name], state[name], part)
        if project is not None and "pattern" in params:
            now = params["pattern"]
            moved: Any = optax.apply_updates(now, moves["pattern"])
            allowed = joint.parameters_of(
                project(joint.pattern_of([moved[i] for i in sorted(now)]))
            )
            moves["pattern"] = {i: allowed[i] - now[i] for i in now}
        return moves, after

    return optax.GradientTransformation(init, update)


def _free(pattern: PyTree) -> tuple[bool, ...]:
    """Of every leaf, whether it is to be trained."""
    each = lambda node: jax.tree.map(lambda _: _is_free(node), node)  # noqa: E731
    is_constant = lambda node: isinstance(node, Constant)  # noqa: E731
    return tuple(jax.tree.leaves(jax.tree.map(each, pattern, is_leaf=is_constant)))


def _parted(leaves: list, free: tuple[bool, ...]) -> tuple[list, list]:
    """Those that are free, and the others."""
    pairs = list(zip(leaves, free, strict=True))
    return [x for x, is_free in pairs if is_free], [x for x, is_free in pairs if not is_free]
