"""Reconstruction networks that are a fixed number of iterations, or their limit.

`Unrolled` runs any algorithm, of `jaxrecon.solvers` with a network for a prior or learned as a
whole, for a few iterations and is trained through them (Gregor and LeCun, ICML 2010; Monga, Li and
Eldar, IEEE Signal Process. Mag. 38, 2021). `Equilibrium` runs one to its fixed point and is trained
through the equation of that (Bai, Kolter and Koltun, NeurIPS 2019; Gilton, Ongie and Willett, IEEE
Trans. Comput. Imaging 7, 2021), in the memory of one iteration. Both are called as ``net(A, y)`` on
one example; a batch is ``jax.vmap(net)``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import (
    AdjointSolve,
    Algorithm,
    LinearOperator,
    Problem,
    Result,
    identity,
    pytree,
    replace,
    run,
    tree,
)
from jaxrecon.functionals import LeastSquares
from jaxrecon.nets.reconstruction._iteration import LearnedIteration, PerIteration, Replaceable
from jaxrecon.nets.reconstruction._networks import as_prior, slice_of
from jaxrecon.nets.reconstruction._scan import (
    Positive,
    check_measurements,
    normalise,
    unscaled,
    with_values,
)
from jaxrecon.solvers import Anderson


class Posed(NamedTuple):
    """All that `jaxrecon.core.run` needs, and the factor that undoes the normalisation."""

    algorithm: Algorithm
    problem: Problem
    x0: Any
    inputs: Any
    scale: Array


class Unrolled(nnx.Module):
    """Iterations of an algorithm as a network: ``net(A, y)``.

    Scans are brought to the units of `normalise` first, so 1 is a good step size to start training
    from, and penalties between 0.01 and 1 are good ones. An algorithm that is to converge finds its
    own step if it is given none.

    Args:
        algorithm: of `jaxrecon.solvers`, to which a prior is given, or a `LearnedIteration`. Its
            hyper-parameters may be `Positive`, and are learned then.
        prior: an image network, which takes the place of the proximal map, or a functional such as
            `DenoiserPrior`, `GradientNetwork`, `RED` or `Ridge`.
        n_iter: how many iterations.
        shared: whether all iterations have the same weights. If not, the prior (of a
            `LearnedIteration`: the algorithm itself) is one of `stacked` modules, n_iter of them.
        inputs: what is learned for each iteration beside the networks, by the names the algorithm
            knows, with the numbers to start from: ``{"step": 1.0}`` for gradient methods,
            ``{"penalty": 0.1}`` for ADMM and HQS.
        fidelity: makes a functional of the measurements.
        initial: ``initial(A, y)``, the image to start from; t Aᴴy of `normalise` by default.
        calibrate: ``calibrate(A, y)``, a better forward model, such as a `CoilMapNetwork`.
        normalised: whether to bring scans to common units; a fidelity of counts is not invariant.
        remat: compute iterations again in the backward pass instead of storing them.
        unroll: how many iterations stand in one turn of the loop; see `run`.

    Raises:
        ValueError: weights that do not fit `n_iter` and `shared`.

    Example:
        >>> from jaxrecon.core import fft
        >>> from jaxrecon.nets.reconstruction import ConvNet, stacked
        >>> from jaxrecon.solvers import ProximalGradient
        >>> make = lambda rngs: ConvNet(2, 2, widths=(4,), rngs=rngs)
        >>> prior = stacked(make, 3, rngs=nnx.Rngs(0))
        >>> step = {"step": 1.0}
        >>> net = Unrolled(ProximalGradient(1.0), prior, n_iter=3, shared=False, inputs=step)
        >>> A = fft(jnp.zeros((4, 4), jnp.complex64))
        >>> net(A, jnp.ones((4, 4), jnp.complex64)).shape
        (4, 4)
    """

    def __init__(
        self,
        algorithm: Algorithm,
        prior: Any = None,
        *,
        n_iter: int,
        shared: bool = True,
        inputs: Mapping[str, Any] | None = None,
        fidelity: Callable[[Any], Any] = LeastSquares,
        initial: Callable[[Any, Any], Any] | None = None,
        calibrate: Callable[[Any, Any], Any] | None = None,
        normalised: bool = True,
        remat: bool = True,
        unroll: int | Literal["auto"] = "auto",
    ):
        self.algorithm = nnx.data(algorithm)
        self.prior = nnx.data(None if prior is None else as_prior(prior))
        self.inputs = nnx.Dict(
            {k: Positive(np.broadcast_to(v, (n_iter,))) for k, v in (inputs or {}).items()}
        )
        self.fidelity = fidelity
        self.initial = held(initial)
        self.calibrate = held(calibrate)
        self.n_iter = n_iter
        self.shared = shared
        self.normalised = normalised
        self.remat = remat
        self.unroll = unroll
        _check_weights(self)

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The image behind measurements of one example."""
        return self.solve(A, y).value

    def solve(self, A: LinearOperator, y: PyTree, **options: Any) -> Result:
        """The image with its status and the algorithm's info.

        Args:
            A: forward model.
            y: measurements, like its range.
            options: of `jaxrecon.core.run`, such as `record`, or another `gradient`; with shared
                weights, another `n_iter`.
        """
        settings: dict[str, Any] = {"n_iter": self.n_iter, "gradient": "unrolled"}
        settings |= {"remat": self.remat, "unroll": self.unroll}
        return solve_posed(self.pose(A, y), **{**settings, **options})

    def pose(self, A: LinearOperator, y: PyTree) -> Posed:
        """What is run for a scan."""
        check_measurements(A, y)
        A = A if self.calibrate is None else self.calibrate(A, y)
        x0 = None if self.initial is None else with_values(self.initial)(A, y)
        scan = normalise(A, y, x0) if self.normalised else unscaled(A, y, x0)
        algorithm, prior, inputs = self._weights()
        terms = ((self.fidelity(scan.y), scan.A),)
        if prior is not None:
            terms = (*terms, (prior, identity(scan.A.domain)))
        return Posed(algorithm, Problem(terms), scan.x0, inputs or None, scan.scale)

    def _weights(self) -> tuple[Algorithm, Any, dict[str, Any]]:
        algorithm, prior = with_values(self.algorithm), with_values(self.prior)
        inputs: dict[str, Any] = {name: value() for name, value in self.inputs.items()}
        if self.shared:
            return algorithm, prior, inputs
        if isinstance(algorithm, LearnedIteration):
            inputs["algorithm"] = algorithm
            return PerIteration(slice_of(algorithm, 0)), prior, inputs
        inputs["prior"] = prior
        return PerIteration(algorithm), Replaceable(slice_of(prior, 0)), inputs


class Equilibrium(nnx.Module):
    """The fixed point of a network's iterations: a deep equilibrium, ``net(A, y)``.

    Weights must be shared and hyper-parameters constant (no `inputs`). Gradients are those of the
    fixed point, by one linear solve in the memory of one iteration; they are NaN where that solve
    fails, as it may where the iteration is no contraction. A network with a Lipschitz constant
    below 1 makes it one.

    Args:
        net: whose iteration it is.
        n_iter: iterations at most.
        tol: stop at this relative residual.
        memory: of Anderson acceleration; 0 for the algorithm as it is, with its own momentum.
        adjoint_solve: tolerances of the linear solve.

    Raises:
        ValueError: the network's weights are not shared.

    Example:
        >>> from jaxrecon.core import fft
        >>> from jaxrecon.nets.reconstruction import ConvNet
        >>> from jaxrecon.solvers import ProximalGradient
        >>> prior = ConvNet(2, 2, widths=(4,), rngs=nnx.Rngs(0))
        >>> net = Equilibrium(Unrolled(ProximalGradient(0.5), prior, n_iter=1), tol=1e-3)
        >>> A = fft(jnp.zeros((4, 4), jnp.complex64))
        >>> str(net.solve(A, jnp.ones((4, 4), jnp.complex64)).status)
        'Status(converged to the tolerance)'
    """

    def __init__(
        self,
        net: Unrolled,
        *,
        n_iter: int = 50,
        tol: float = 1e-4,
        memory: int = 5,
        adjoint_solve: AdjointSolve | None = None,
    ):
        if not net.shared or net.inputs:
            raise ValueError(
                "`net` has weights for each iteration, expected shared ones: an equilibrium is the "
                "fixed point of one map. Learned numbers may stand in the algorithm, as `Positive`"
            )
        self.net = net
        self.n_iter = n_iter
        self.tol = tol
        self.memory = memory
        self.adjoint_solve = nnx.data(adjoint_solve)

    def __call__(self, A: LinearOperator, y: PyTree) -> PyTree:
        """The image behind measurements of one example."""
        return self.solve(A, y).value

    def solve(self, A: LinearOperator, y: PyTree, **options: Any) -> Result:
        """The image with its status and info; `options` as for `Unrolled.solve`."""
        posed = self.net.pose(A, y)
        if self.memory:
            anderson = Anderson(FullSteps(posed.algorithm), memory=self.memory)
            posed = posed._replace(algorithm=Accelerated(anderson, posed.algorithm))
        settings: dict[str, Any] = {"n_iter": self.n_iter, "tol": self.tol, "gradient": "implicit"}
        settings["adjoint_solve"] = self.adjoint_solve
        return solve_posed(posed, **{**settings, **options})


@pytree
class FullSteps(Algorithm):
    """An algorithm whose map to be accelerated is a whole learned iteration, inner solver and all.

    Its `fixed_point` may be a cheaper one, for the derivative.
    """

    algorithm: Algorithm

    def prepare(self, problem: Any) -> Any:
        return self.algorithm.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> Any:
        """The algorithm's first point, which may hold more than the image."""
        state = self.algorithm.init(problem, x0, key=key)
        return jax.tree.map(jnp.asarray, self.algorithm.point(state))

    def step(self, problem: Any, state: Any, inputs: Any) -> tuple[Any, Any]:
        return self.algorithm.step(problem, state, inputs)

    def value(self, state: Any) -> PyTree:
        return self.algorithm.value(state)

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        if isinstance(self.algorithm, LearnedIteration):
            return self.algorithm.step(problem, point, None)[0]
        return self.algorithm.fixed_point(problem, point)


@pytree
class Accelerated(Algorithm):
    """Anderson acceleration of an algorithm's points; derivative and image are the algorithm's."""

    anderson: Anderson
    algorithm: Algorithm

    def prepare(self, problem: Any) -> Any:
        return self.algorithm.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> Any:
        return self.anderson.init(problem, self.anderson.algorithm.init(problem, x0, key=key))

    def step(self, problem: Any, state: Any, inputs: Any) -> tuple[Any, Any]:
        return self.anderson.step(problem, state, inputs)

    def value(self, state: Any) -> PyTree:
        """The point, from which `solution` makes the image."""
        return self.anderson.value(state)

    def fixed_point(self, problem: Any, point: PyTree) -> PyTree:
        return self.algorithm.fixed_point(problem, point)

    def solution(self, problem: Any, point: PyTree) -> PyTree:
        return self.algorithm.solution(problem, point)


def solve_posed(posed: Posed, **options: Any) -> Result:
    """The result in the units of the measurements."""
    algorithm, problem, x0, inputs, scale = posed
    result = run(algorithm, problem, x0, inputs=inputs, **options)
    return replace(result, value=tree.scale(scale, result.value))


def held(function: Any) -> Any:
    """A callable as a module's attribute: data if it is a pytree, else part of the program."""
    if function is None or jax.tree_util.all_leaves([function]):
        return nnx.static(function)
    return nnx.data(function)


def _check_weights(net: Unrolled) -> None:
    learned = isinstance(net.algorithm, LearnedIteration)
    if learned and net.prior is not None:
        raise ValueError(
            f"`prior` is given beside the {type(net.algorithm).__name__}, which is learned as a "
            "whole: leave it out"
        )
    if net.shared:
        return
    name, weights = ("algorithm", net.algorithm) if learned else ("prior", net.prior)
    shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(weights)}
    if shapes != {(net.n_iter,)}:
        raise ValueError(
            f"`{name}` has arrays with leading axes {sorted(shapes)}, expected {net.n_iter} for "
            "`shared=False`: build it with `stacked(make, n_iter, rngs=rngs)`"
        )
