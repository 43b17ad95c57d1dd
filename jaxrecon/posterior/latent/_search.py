"""The latent whose image explains the data best, and ways to leave the generator's range a little.

- `search`: min Σ f(A G(z)) + p(z) from several random starts, because it is not convex; the best
  fit is taken (CSGM: Bora, Jalal, Price and Dimakis, ICML 2017). With p = `Sphere()`, on which
  high-dimensional normal latents lie, this is the search of PULSE (Menon, Damian, Hu, Ravi and
  Rudin, CVPR 2020).
- `search_layers`: then the output of the first layer is moved within an ℓ1 ball about what was
  found, then that of the second ... (intermediate layer optimisation: Daras, Dean, Jalal and
  Dimakis, ICML 2021).
- `search_with_deviation`: x = G(z) + ν, with ν sparse in some sense (SparseGen: Dhar, Grover and
  Ermon, ICML 2018).

All are solved by methods with a line search, so that there is no step size to choose.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import Algorithm, Problem, Result, Status, pytree, run, tree
from jaxrecon.functionals import Functional, L1Ball, SquaredL2, separable, translated
from jaxrecon.functionals._norms import indicator, slack
from jaxrecon.posterior.latent._generated import latent_problem
from jaxrecon.solvers.gradient import LBFGS, BarzilaiBorwein


class Found(NamedTuple):
    """What a search found.

    Attributes:
        image: G(z) of the start that fits best.
        latent: its z.
        misfit: Σ f(A G(z)) of every start, ``(start,)``.
        latents: z of every start, along a leading axis.
        status: of every start.
    """

    image: PyTree
    latent: PyTree
    misfit: Float[Array, " start"]
    latents: PyTree
    status: Status


@pytree
class Sphere(Functional):
    """The indicator of ‖z‖ = radius; not convex.

    Attributes:
        radius: √n by default, n being the number of real latents: where those of N(0, 1) lie.
    """

    radius: Any = None

    @property
    def convex(self) -> bool:
        return False

    def __call__(self, x: PyTree) -> Array:
        radius, leaf = self._radius(x), jax.tree.leaves(x)[0]
        return indicator(jnp.abs(tree.norm(x) - radius) <= radius * slack(leaf), leaf)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        """The nearest point of the sphere; of its centre some point."""
        del step
        size = tree.norm(x)
        x = tree.where(size > 0, x, jax.tree.map(jnp.ones_like, x))
        return tree.scale(self._radius(x) / tree.norm(x), x)

    def _radius(self, x: PyTree) -> Any:
        parts = jax.tree.leaves(tree.to_real(x))
        return sum(p.size for p in parts) ** 0.5 if self.radius is None else self.radius


@pytree
class Layers:
    """A generator made of others, the first one first."""

    parts: tuple[Any, ...]

    def __call__(self, z: PyTree) -> PyTree:
        """The image of a latent."""
        for part in self.parts:
            z = part(z)
        return z


@pytree
class Deviating:
    """(z, ν) ↦ G(z) + ν."""

    generator: Any

    def __call__(self, z: tuple[PyTree, PyTree]) -> PyTree:
        """The image of a latent and a deviation."""
        return tree.add(self.generator(z[0]), z[1])


def search(
    problem: Problem,
    generator: Any,
    like: PyTree,
    *,
    key: Key[Array, ""],
    n_starts: int = 10,
    starts: PyTree = None,
    prior: Functional | None = None,
    algorithm: Algorithm | None = None,
    n_iter: int = 200,
    tol: Any = 1e-6,
) -> Found:
    """The latents of least Σ f(A G(z)) + p(z) from several starts, and the best of their images.

    Args:
        problem: Σ f(A x).
        generator: a callable ``G(z)``; a pytree if it carries arrays.
        like: arrays or structs in the shapes of z.
        key: draws the starts from N(0, 1).
        n_starts: how many, worked off together by `jax.vmap`.
        starts: latents to start from, along a leading axis, in place of those.
        prior: p; ½‖z‖² by default. `Sphere()` for latents of a given length, `Zero()` for none.
        algorithm: L-BFGS for a smooth p, Barzilai-Borwein steps else.
        n_iter: iterations at most.
        tol: at which a start stops.

    Raises:
        ValueError: `n_starts` below 1.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.functionals import LeastSquares, Zero
        >>> y = jnp.array([4.0, 9.0])
        >>> problem = Problem(((LeastSquares(y), identity(y)),))
        >>> found = search(problem, jnp.square, y, key=jax.random.key(0), prior=Zero())
        >>> found.image.round(2).tolist(), found.misfit.shape
        ([4.0, 9.0], (10,))
    """
    if starts is None:
        starts = _normal(key, like, n_starts)
    within = latent_problem(problem, generator, like, prior=prior)
    if algorithm is None:
        algorithm = LBFGS() if within.terms[-1][0].smooth else BarzilaiBorwein()

    def one(start: PyTree) -> Result:
        return run(algorithm, within, start, n_iter=n_iter, tol=tol)

    results = jax.vmap(one)(starts)
    misfit = jax.vmap(lambda z: problem(generator(z)))(results.value)
    best = jnp.argmin(jnp.where(jnp.isfinite(misfit), misfit, jnp.inf))
    latent = jax.tree.map(lambda leaf: leaf[best], results.value)
    return Found(generator(latent), latent, misfit, results.value, results.status)


def search_layers(
    problem: Problem,
    layers: Sequence[Any],
    like: PyTree,
    *,
    key: Key[Array, ""],
    radii: Sequence[Any],
    n_starts: int = 10,
    prior: Functional | None = None,
    n_iter: int = 200,
    tol: Any = 1e-6,
) -> Found:
    """`search`, then the outputs of the first layers in turn within ℓ1 balls about what was found.

    Args:
        problem: Σ f(A x).
        layers: callables whose composition is the generator, each of one array.
        like: an array or struct in the shape of the first one's input.
        key: as for `search`.
        radii: of the balls about the outputs of the first, the second ... layer; fewer than layers.
        n_starts: of the first search.
        prior: of its latents, as for `search`.
        n_iter: iterations at most, of each search.
        tol: as for `search`.

    Returns:
        The last layer's search: its latent is that layer's output, or the first search where there
        are no radii.

    Raises:
        ValueError: more radii than outputs between layers.
    """
    if len(radii) >= len(layers):
        raise ValueError(
            f"`radii` has {len(radii)} entries, expected fewer than the {len(layers)} layers"
        )
    generator = Layers(tuple(layers))
    common: dict[str, Any] = {"key": key, "n_iter": n_iter, "tol": tol}
    found = search(problem, generator, like, n_starts=n_starts, prior=prior, **common)
    for i, radius in enumerate(radii, 1):
        centre = layers[i - 1](found.latent)
        ball, rest = translated(L1Ball(radius), centre), Layers(tuple(layers[i:]))
        found = search(problem, rest, centre, starts=centre[None], prior=ball, **common)
    return found


def search_with_deviation(
    problem: Problem,
    generator: Any,
    like: PyTree,
    *,
    key: Key[Array, ""],
    deviation: Functional,
    prior: Functional | None = None,
    n_starts: int = 10,
    n_iter: int = 500,
    tol: Any = 1e-6,
) -> Found:
    """The latent z and the deviation ν of least Σ f(A (G(z) + ν)) + p(z) + d(ν).

    Args:
        problem: Σ f(A x).
        generator: a callable ``G(z)``; a pytree if it carries arrays.
        like: arrays or structs in the shapes of z.
        key: draws the starts of z from N(0, 1); ν starts at zero.
        deviation: d, such as `L1` or `WaveletL1`, with a proximal map.
        prior: p, with a proximal map; ½‖z‖² by default.
        n_starts: as for `search`, like the rest.
        n_iter: as there.
        tol: as there.

    Returns:
        The search, with pairs (z, ν) for latents.
    """
    image = jax.eval_shape(generator, tree.structs(like))
    nothing = jax.tree.map(lambda s: jnp.zeros((n_starts, *s.shape), s.dtype), image)
    both = separable((SquaredL2() if prior is None else prior, deviation))
    return search(
        problem,
        Deviating(generator),
        (like, image),
        key=key,
        starts=(_normal(key, like, n_starts), nothing),
        prior=both,
        algorithm=BarzilaiBorwein(),
        n_iter=n_iter,
        tol=tol,
    )


def _normal(key: Key[Array, ""], like: PyTree, n: int) -> PyTree:
    if n < 1:
        raise ValueError(f"`n_starts` is {n}, expected at least 1")
    return jax.vmap(lambda k: tree.standard_noise(k, tree.structs(like)))(jax.random.split(key, n))
