"""A generator as a nonlinear forward model x = G(z), and problems in its latent space.

    min over z of Σ f(A G(z)) + p(z)                                                        (1)

is a `Problem` like any other, with A∘G in place of A, so that every solver for nonlinear forward
models searches a latent space. With the true scale of the f and p = ½‖z‖², the negative log density
of latents that are N(0, 1), (1) is the negative log of the posterior of z.

A generator is any pytree callable ``G(z)``, z a real or complex array or a pytree of them. It is
differentiated in reverse mode alone, twice for the derivative forward: networks have no other.
"""

from typing import Any

import jax
from jaxtyping import PyTree

from jaxrecon.core import LinearOperator, Operator, Problem, chain, identity, operator, static, tree
from jaxrecon.core.operators._rule import linearised
from jaxrecon.functionals import Functional, SquaredL2


@operator
class Generated(Operator):
    """G as an operator; built by `generated`."""

    generator: Any
    structs: tuple[jax.ShapeDtypeStruct, ...] = static()
    structure: Any = static()

    @property
    def domain(self) -> PyTree:
        return jax.tree.unflatten(self.structure, self.structs)

    @property
    def range(self) -> PyTree:
        return jax.eval_shape(self.generator, self.domain)

    def forward(self, x: Any) -> Any:
        return self.generator(x)

    def linearise(self, x: Any) -> tuple[Any, LinearOperator]:
        image, pull = linearised(self.generator, x)
        return image, _Derivative(pull, self)


@operator
class _Derivative(LinearOperator):
    """∂G/∂z at the point where `pull` was taken."""

    pull: Any
    of: Generated

    @property
    def domain(self) -> PyTree:
        return self.of.domain

    @property
    def range(self) -> PyTree:
        return self.of.range

    def forward(self, x: Any) -> Any:
        # y ↦ ∂Gᴴ y is linear: pulling back through it, wherever that is done, applies ∂G.
        _, push = linearised(self.adjoint, tree.zeros(self.range))
        return push(x)

    def adjoint(self, y: Any) -> Any:
        return self.pull(y)


def generated(generator: Any, like: PyTree) -> Generated:
    """A generator as an operator.

    Args:
        generator: a callable ``G(z)``; a pytree if it carries arrays, such as a network.
        like: arrays or structs in the shapes of z.

    Example:
        >>> import jax.numpy as jnp
        >>> G = generated(jnp.exp, jnp.zeros(2))
        >>> image, derivative = G.linearise(jnp.zeros(2))
        >>> derivative(jnp.array([1.0, 2.0])).tolist()
        [1.0, 2.0]
    """
    is_leaf = jax.tree_util.all_leaves([generator])
    generator = jax.tree_util.Partial(generator) if is_leaf else generator
    leaves, structure = jax.tree.flatten(tree.structs(like))
    return Generated(generator, tuple(leaves), structure)


def latent_problem(
    problem: Problem, generator: Any, like: PyTree, *, prior: Functional | None = None
) -> Problem:
    """A problem of images as one of latents, equation (1).

    Args:
        problem: Σ f(A x), a `Posterior`'s likelihood for example; A may be nonlinear.
        generator: a callable ``G(z)``, as for `generated`.
        like: arrays or structs in the shapes of z.
        prior: p, a functional of z; ½‖z‖² by default.

    Raises:
        ValueError: the generator's images are not what the forward models take.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrecon.core import run
        >>> from jaxrecon.functionals import LeastSquares
        >>> from jaxrecon.solvers import LBFGS
        >>> x = jnp.zeros(2)
        >>> problem = Problem(((LeastSquares(jnp.array([2.0, 4.0])), identity(x)),))
        >>> halves = latent_problem(problem, lambda z: z, x)
        >>> run(LBFGS(), halves, n_iter=5).value.round(3).tolist()
        [1.0, 2.0]
    """
    G = generated(generator, like)
    terms = [(f, chain(A, G)) for f, A in problem.terms]
    prior = SquaredL2() if prior is None else prior
    return Problem((*terms, (prior, identity(G.domain))))
