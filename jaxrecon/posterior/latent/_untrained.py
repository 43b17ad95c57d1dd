"""Untrained networks: a generator's own weights are fitted to one measurement.

    min over w of Σ f(A G_w(z)),  z fixed, w from its random start                         (1)

A network learns images sooner than noise, so that the iteration itself regularises if it is stopped
in time (deep image prior: Ulyanov, Vedaldi and Lempitsky, Int. J. Comput. Vis. 128, 2020), or the
network is too small for noise (deep decoder: Heckel and Hand, ICLR 2019). When to stop is decided
by measurements that were held out (`hold_out`): the image of the least misfit to those is kept
(self-validation: Yaman, Hosseini and Akçakaya, ICLR 2022).

Total variation or any other penalty of the image is one more term of the problem. Noise added to z
at every step and the exponential mean of the images both come from Ulyanov et al.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Problem, Result, pytree, run, static, tree


@pytree
class Untrained:
    """What `Fit` works on, equation (1).

    Attributes:
        generator: a pytree callable ``G(z)``; all its real and complex arrays are weights.
        z: its input, an array or pytree.
        fit: what is minimised.
        judge: what says which image is best, or None for the last one.
        watch: ``watch(image)`` is kept of every step.
    """

    generator: Any
    z: PyTree
    fit: Problem
    judge: Problem | None = None
    watch: Any = None

    @property
    def domain(self) -> PyTree:
        """Structs of the weights."""
        return tree.structs(weights_of(self.generator))


class FitState(NamedTuple):
    """Weights, the optimiser's state, the mean image, and the best image so far."""

    weights: Any
    moments: Any
    mean: Any
    best: Any
    lowest: Array
    waited: Array
    i: Array
    key: Any


class FitInfo(NamedTuple):
    """Of every step.

    Attributes:
        residual: relative change of the weights.
        misfit: what is minimised, before the step.
        held_out: what judges, of the image before the step or the mean; NaN if nothing does.
        waited: steps since the best image.
        watched: what `watch` says of that image, or None.
    """

    residual: Array
    misfit: Array
    held_out: Array
    waited: Array
    watched: Any


@pytree
class Fit(Algorithm):
    """Steps of an optimiser on the weights; the value is the best image met, see `fit_generator`.

    Attributes:
        optimizer: an optax transformation.
        rate: factor of its updates; as data, it may change without compiling again.
        jitter: standard deviation of the noise that z gets anew at every step.
        average: weight of the old in the exponential mean of the images; 0 for the image itself.
    """

    optimizer: Any = static()
    rate: Any = 1.0
    jitter: Any = 0.0
    average: Any = 0.0

    def init(self, problem: Untrained, x0: PyTree, *, key: Any = None) -> FitState:
        if key is None:
            raise ValueError("`key` is None; the noise on `z` needs one")
        image = jax.eval_shape(with_weights(problem.generator, x0), problem.z)
        none = tree.zeros(image)
        zero, lowest = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf)
        return FitState(x0, self.optimizer.init(x0), none, none, lowest, zero, zero, key)

    def step(self, problem: Untrained, state: FitState, inputs: Any) -> tuple[FitState, FitInfo]:
        del inputs
        key, fresh = jax.random.split(state.key)
        z = tree.add_scaled(problem.z, self.jitter, tree.standard_noise(fresh, problem.z))

        def objective(weights: PyTree) -> tuple[Array, PyTree]:
            image = with_weights(problem.generator, weights)(z)
            return problem.fit(image), image

        (misfit, image), slope = jax.value_and_grad(objective, has_aux=True)(state.weights)
        weights, moments = self._moved(state, jax.tree.map(jnp.conj, slope))
        i = state.i + 1
        mean = tree.add_scaled(tree.scale(self.average, state.mean), 1 - self.average, image)
        shown = tree.scale(1 / (1 - jnp.asarray(self.average, float) ** i), mean)
        score = jnp.nan if problem.judge is None else problem.judge(shown)
        score = jnp.asarray(score, state.lowest.dtype)
        better = jnp.ones((), bool) if problem.judge is None else score < state.lowest
        best = tree.where(better, shown, state.best)
        lowest = jnp.where(better, score, state.lowest)
        waited = jnp.where(better, 0, state.waited + 1)
        watched = None if problem.watch is None else problem.watch(shown)
        change = tree.relative_change(weights, state.weights)
        info = FitInfo(change, misfit, score, waited, watched)
        return FitState(weights, moments, mean, best, lowest, waited, i, key), info

    def value(self, state: FitState) -> PyTree:
        return state.best

    def _moved(self, state: FitState, slope: PyTree) -> tuple[PyTree, Any]:
        updates, moments = self.optimizer.update(slope, state.moments, state.weights)
        return tree.add_scaled(state.weights, self.rate, updates), moments


@pytree
class Patience:
    """A rule for `run`: stops when so many steps have brought no better image."""

    n_steps: Any

    def __call__(self, problem: Untrained, value: PyTree, info: FitInfo) -> Array:
        """Whether it is time."""
        del problem, value
        return info.waited >= self.n_steps


def fit_generator(
    generator: Any,
    z: PyTree,
    problem: Problem,
    *,
    key: Key[Array, ""],
    judge: Problem | None = None,
    n_iter: int = 2000,
    patience: int | None = None,
    rate: Any = None,
    optimizer: Any = None,
    jitter: Any = 0.0,
    average: Any = 0.0,
    watch: Any = None,
    progress: Any = None,
) -> Result:
    """The image of a network that is fitted to one measurement, equation (1).

    Args:
        generator: a pytree callable ``G(z)``, such as a network of `nets.generative`. All its real
            and complex arrays are fitted; itself stays as it is.
        z: its input, which is not fitted. An image made from data may stand here, but not
            from those that are held out, which it would give away.
        problem: Σ f(A x), with what is held out taken away, and penalties of the image if wanted.
        key: of the noise on z.
        judge: the fidelity of what was held out (`hold_out`): the image of its least value is
            returned. None returns the last image.
        n_iter: steps at most.
        patience: stop when that many steps brought no better image; None does all steps.
        rate: the step size of Adam, 1e-2 by default; a factor of the updates of another optimizer,
            1 by default.
        optimizer: an optax transformation in place of Adam. Pass one and the same for many
            measurements: a new one compiles again.
        jitter: standard deviation of the noise that z gets anew at every step.
        average: weight of the old in an exponential mean of the images, 0.99 for instance, which
            then takes their place; 0 for none.
        watch: ``watch(image)`` is kept of every step's image, such as its PSNR in a simulation; a
            pytree if it carries arrays.
        progress: as for `run`.

    Returns:
        The image, with `FitInfo` of every step.

    Raises:
        ValueError: patience without anything to judge by.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.functionals import LeastSquares
        >>> y = jnp.array([1.0, 2.0])
        >>> problem = Problem(((LeastSquares(y), identity(y)),))
        >>> line = jax.tree_util.Partial(lambda w, z: w * z, jnp.zeros(()))
        >>> image = fit_generator(line, y / 4, problem, key=jax.random.key(0), n_iter=2000).value
        >>> image.round(2).tolist()
        [1.0, 2.0]
    """
    if patience is not None and judge is None:
        raise ValueError("`patience` without a `judge`: hold out data, see `hold_out`")
    if watch is not None and jax.tree_util.all_leaves([watch]):
        watch = jax.tree_util.Partial(watch)
    task = Untrained(generator, z, problem, judge, watch)
    if rate is None:
        rate = 1e-2 if optimizer is None else 1.0
    return run(
        Fit(_adam() if optimizer is None else optimizer, rate, jitter, average),
        task,
        weights_of(generator),
        n_iter=n_iter,
        key=key,
        stop=None if patience is None else Patience(patience),
        progress=progress,
    )


def weights_of(generator: Any) -> list[Array]:
    """The real and complex arrays of a pytree."""
    return [leaf for leaf in jax.tree.leaves(generator) if _is_weight(leaf)]


def with_weights(generator: Any, weights: list[Array]) -> Any:
    """The same pytree with others in their place."""
    leaves, structure = jax.tree.flatten(generator)
    new = iter(weights)
    leaves = [next(new) if _is_weight(leaf) else leaf for leaf in leaves]
    return jax.tree.unflatten(structure, leaves)


def _is_weight(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


@functools.cache
def _adam() -> Any:
    import optax  # half a second, for those who use it

    return optax.adam(1.0)
