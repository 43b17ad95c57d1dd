"""CT views and their dose: A-optimal for objects with the training images' mean and covariance.

The covariance is C = L Lᵀ + ε: principal components, and white noise for what they leave open, its
variance ε taken from how badly the components of one half of the images describe the other half.
Choice and doses see L only, in closed form; reconstructions are the mean given the data, with all
of C.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from jaxrecon.cli.design._config import Config
from jaxrecon.cli.design._plan import Images, Plan, Stage
from jaxrecon.core import LinearOperator, from_function, pytree
from jaxrecon.core._store import whole_file
from jaxrecon.design import criteria, masks, selection
from jaxrecon.physics import ct, gaussian_noise
from jaxrecon.solvers import cg

# Combinations of a view's bins that the choice looks at: the most informative ones.
_N_DATA = 20
HIGHEST = jax.lax.Precision.HIGHEST


@pytree
class LogError:
    """The logarithm of the expected error, in a unit in which descent may take steps of one."""

    model: criteria.GramGaussian
    scale: Array

    def __call__(self, pattern: masks.Weights, key: Any, step: Any) -> Any:
        """Without randomness."""
        del key, step
        return self.scale * jnp.log(criteria.expected_error(self.model, pattern.weights()))


class Prior(NamedTuple):
    """Mean, orthonormal components with their variances, and ε."""

    mean: Float[Array, "y x"]
    modes: Float[Array, "mode y x"]
    variances: Float[Array, " mode"]
    rest: Float[Array, ""]

    @property
    def described(self) -> float:
        """The share of the covariance's trace that the components have."""
        inside, outside = float(jnp.sum(self.variances)), float(self.rest) * self.mean.size
        return inside / (inside + outside)


class ViewsPlan(Plan):
    """Patterns are `masks.Weights` over all candidates; outcomes the doses, zero for most."""

    def __init__(self, config: Config, images: Images):
        self._table, self._pixel, self.images = config.views, config.scan.pixel, images
        n, k = self._table.candidates, self._table.views
        if k > n:
            raise ValueError(f"views.views is {k}, a budget above the {n} views.candidates")
        if len(images.train) < 2:
            raise ValueError("data.train: has one image, expected two or more for a covariance")
        self._solver = config.reconstruction
        self._angles = jnp.arange(n) * (jnp.pi / n)
        self._prior = gaussian_prior(images.train, self._table.modes)
        scan = self._scan(self._angles)
        self._sigma = config.scan.noise * float(jnp.mean(jnp.abs(scan(self._prior.mean))))
        if self._sigma == 0:
            raise ValueError("scan.noise is 0, expected a positive number: doses divide it")
        self._model = self._gaussian(scan)
        self.start = self._equal(np.round(np.arange(k) * n / k).astype(int))
        self.stages = self._stages(config)

    def _scan(self, angles: Array) -> LinearOperator:
        n_bins = int(np.ceil(np.hypot(*self.images.shape))) + 2
        return ct.parallel_beam(angles, self.images.shape, n_bins, pixel=self._pixel)

    def _gaussian(self, scan: LinearOperator) -> criteria.LinearGaussian:
        """Every candidate's data of every component: no matrix of the scan is formed."""
        factor = self._prior.modes * jnp.sqrt(self._prior.variances)[:, None, None]
        data = jax.jit(lambda f: jax.lax.map(scan, f))(factor)
        rows = jnp.moveaxis(data, 0, -1) / self._sigma
        return criteria.LinearGaussian(rows, factor.reshape(len(factor), -1).T)

    def _equal(self, indices: Any) -> masks.Weights:
        """The same dose of some views, and none of the others."""
        n, k = self._table.candidates, self._table.views
        most = np.zeros(n)
        most[indices] = k
        return masks.dose(n, k, most=most)

    def _stages(self, config: Config) -> tuple[Stage, ...]:
        table, settings = config.views, config.design
        optimiser = optax.sgd(settings.learning_rate or 1.0, momentum=0.8)
        criterion = self._criterion()

        def stage(name: str, n_steps: int, begin: Any) -> Stage:
            return Stage(name, n_steps, begin, criterion, masks.project, optimiser, anew=True)

        if table.choice == "greedy":
            n_steps = settings.n_steps if table.dose else 0
            return (stage("dose", n_steps, lambda pattern, best: self._equal(self._chosen())),)
        kept = halved(table.candidates, table.views)
        parts = [len(part) for part in np.array_split(np.arange(settings.n_steps), len(kept))]
        begins = [lambda pattern, best: masks.dose(table.candidates, table.views)]
        begins += [lambda pattern, best, k=k: pattern.keep_largest(k) for k in kept[1:]]
        names = [f"{k} views" for k in kept]
        return tuple(stage(*each) for each in zip(names, parts, begins, strict=True))

    def _criterion(self) -> LogError:
        """A step of one, at equal doses of all, moves a view by a third of its share at most."""
        n, model = self._table.candidates, self._model.grams()
        dose = jnp.full(n, self._table.views / n)
        slope = criteria.error_slope(model, dose) / criteria.expected_error(model, dose)
        return LogError(model, 0.3 * dose[0] / jnp.max(jnp.abs(slope)))

    def _chosen(self) -> np.ndarray:
        few = self._model.compressed(min(_N_DATA, *self._model.rows.shape[1:]))
        found = selection.greedy(few, self._table.views).indices
        return np.asarray(selection.exchange(few, found).indices)

    def outcomes(self, pattern: masks.Weights) -> list[Any]:
        """The doses of as many views as are asked for; equal ones unless they are designed."""
        kept = pattern.keep_largest(self._table.views).weights()
        return [kept if self._table.dose else jnp.where(kept > 0, 1.0, 0.0)]

    def reconstruct(self, outcome: Any, image: Array, key: Key[Array, ""]) -> Array:
        """The mean of the Gaussian given noisy data: (AᵀWA/σ² + C⁻¹)⁻¹, preconditioned by C."""
        doses, views = jax.lax.top_k(outcome, self._table.views)
        A = self._scan(self._angles[views])
        # A view without dose has no weight; its noise is never looked at.
        noise = self._sigma / jnp.sqrt(jnp.maximum(doses, 1e-6))[:, None]
        y = gaussian_noise(key, A(image), noise)
        weights = jnp.broadcast_to(doses[:, None] / self._sigma**2, A.range.shape)
        prior = self._prior
        normal = A.weighted_gram(weights) + from_function(_whitened, prior.mean, prior)
        covariance = from_function(_coloured, prior.mean, prior)
        options = {"n_iter": self._solver.n_iter, "tol": self._solver.tol}
        side = A.H(weights * (y - A(prior.mean)))
        return prior.mean + cg(normal, side, preconditioner=covariance, **options).value

    def spread(self, outcome: Any) -> np.ndarray:
        """The back-projection of a point's data, weighted with the doses."""
        doses, views = jax.lax.top_k(outcome, self._table.views)
        A = self._scan(self._angles[views])
        y, x = (n // 2 for n in self.images.shape)
        point = jnp.zeros(self.images.shape).at[y, x].set(1)
        column = np.abs(A.H(doses[:, None] * A(point)))
        return column / column[y, x]

    def drawn(self, outcome: Any) -> np.ndarray:
        """Rays of the views' directions d = (−sin θ, cos θ) in (x, y), as long as their dose."""
        dose = np.asarray(outcome)
        some = np.flatnonzero(dose)
        angles, length = np.asarray(self._angles)[some], dose[some] / dose.max()
        ends = length[:, None] * np.stack([np.cos(angles), -np.sin(angles)], -1)
        return np.linspace(-1, 1, 65)[None, :, None] * ends[:, None]

    def facts(self, outcome: Any) -> dict[str, Any]:
        """Views, doses, and the root of the expected relative squared error of the components.

        What the components leave open comes on top of it: `described` is the share of deviations
        from the mean, in other images, that they do describe.
        """
        error = criteria.expected_error(self._model.grams(), outcome)
        power = jnp.mean(jnp.sum(self.images.train**2, (1, 2)))
        return {
            "views": int(np.sum(np.asarray(outcome) > 0)),
            "candidates": self._table.candidates,
            "dose": float(np.sum(outcome)),
            "expected_error_of_components": float(jnp.sqrt(error / power)),
            "described": self._prior.described,
        }

    def save(self, folder: Path, outcome: Any) -> list[Path]:
        """`pattern.npz` with ``angles`` in radians and ``doses``, of the views measured."""
        dose = np.asarray(outcome)
        some = np.flatnonzero(dose)
        with whole_file(folder / "pattern.npz") as file:
            np.savez(file, angles=np.asarray(self._angles)[some], doses=dose[some], candidate=some)
        return [folder / "pattern.npz"]


def gaussian_prior(images: Float[Array, "image y x"], n_modes: int) -> Prior:
    """Mean, components and the variance of the rest."""
    half = _components(images[::2], n_modes)
    others = images[1::2] - half.mean
    inside = jnp.tensordot(others, half.modes, ((1, 2), (1, 2)), precision=HIGHEST)
    left = jnp.sum(others**2) - jnp.sum(inside**2)
    power = jnp.mean(images**2)
    return _components(images, n_modes)._replace(rest=jnp.maximum(left / others.size, 1e-6 * power))


def _components(images: Array, n_modes: int) -> Prior:
    mean = jnp.mean(images, 0)
    n = min(n_modes, len(images) - 1)  # the mean takes one
    flat = (images - mean).reshape(len(images), -1) / np.sqrt(max(len(images) - 1, 1))
    _, deviations, modes = jnp.linalg.svd(flat, full_matrices=False)
    n = min(n, len(modes))
    return Prior(mean, modes[:n].reshape(n, *mean.shape), deviations[:n] ** 2, jnp.zeros(()))


def _whitened(prior: Prior, image: Array) -> Array:
    """C⁻¹, by Woodbury's identity."""
    share = prior.variances / (prior.variances + prior.rest)
    return (image - _inside(prior, share, image)) / prior.rest


def _coloured(prior: Prior, image: Array) -> Array:
    """C."""
    return _inside(prior, prior.variances, image) + prior.rest * image


def _inside(prior: Prior, factors: Array, image: Array) -> Array:
    along = jnp.tensordot(prior.modes, image, 2, precision=HIGHEST)
    return jnp.tensordot(factors * along, prior.modes, 1, precision=HIGHEST)


def halved(n: int, k: int) -> list[int]:
    """From n down to k by halves: how many views each stage keeps."""
    kept = [n]
    while kept[-1] > k:
        kept.append(max(k, kept[-1] // 2))
    return kept
