"""Cartesian masks of lines or points, for the error of CG-SENSE."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Complex, Key

from jaxrecon.cli.design._config import Config, Mask
from jaxrecon.cli.design._plan import Images, Plan, Stage
from jaxrecon.core import identity, pytree, static
from jaxrecon.core._store import whole_file
from jaxrecon.design import criteria, masks
from jaxrecon.physics import complex_gaussian_noise, mri
from jaxrecon.solvers import cg


@pytree
class CgSense:
    """(AᴴA + λ)⁻¹ Aᴴ y, with the derivative of the solution."""

    weight: Array
    n_iter: int = static()
    tol: float = static()

    def __call__(self, A: Any, y: Any) -> Any:
        """The image."""
        normal = A.gram + self.weight * identity(A.domain)
        return cg(normal, A.H(y), n_iter=self.n_iter, tol=self.tol).value


@pytree
class MaskError:
    """The error of CG-SENSE with a mask drawn anew at every step."""

    maps: Complex[Array, "coil y x"]
    images: Complex[Array, "image y x"]
    sigma: Array
    solve: CgSense
    cooling: masks.Geometric
    batch: int = static()
    estimator: str = static()

    def __call__(self, pattern: masks.MaskPattern, key: Any, step: Any) -> Any:
        """The mean over a batch of images."""
        draw, pick, noise = jax.random.split(key, 3)
        images = jax.random.choice(pick, self.images, (self.batch,), replace=False)
        weights, scan = self.weights(pattern, draw, step), functools.partial(mri.sense, self.maps)
        return criteria.sampling_error(weights, scan, self.solve, images, noise, noise=self.sigma)

    def weights(self, pattern: masks.MaskPattern, key: Any, step: Any) -> Any:
        """The mask with the derivative of its estimator."""
        if self.estimator == "straight-through":
            return pattern.straight_through(key)
        drawn = pattern.gumbel if self.estimator == "gumbel" else pattern.relaxed
        return drawn(key, self.cooling(step))


class MaskPlan(Plan):
    """A pattern of `design.masks`; outcomes are boolean masks as `mri.sense` takes them."""

    def __init__(self, config: Config, images: Images):
        self.images, self._table = images, config.mask
        self._shape = mask_shape(config, images)
        self.start = starting_pattern(config.mask, self._shape)
        self._maps = mri.normalise_maps(mri.birdcage_maps(config.scan.coils, images.shape))
        settings, solver = config.design, config.reconstruction
        self._solve = CgSense(jnp.asarray(solver.weight), solver.n_iter, solver.tol)
        self._sigma = jnp.asarray(config.scan.noise)
        self._key = jax.random.key(settings.seed)
        n_steps, table = settings.n_steps, config.mask
        criterion = MaskError(
            self._maps,
            images.train,
            self._sigma,
            self._solve,
            masks.geometric(table.temperature, table.coldest, n_steps),
            min(settings.batch, len(images.train)),
            table.estimator,
        )
        optimiser = falling_adam(settings.learning_rate or 0.1, n_steps)
        keep = lambda pattern, best: pattern  # noqa: E731
        self.stages = (Stage("error", n_steps, keep, criterion, masks.project, optimiser),)

    def outcomes(self, pattern: masks.MaskPattern) -> list[Any]:
        """The most probable mask, and some drawn."""
        keys = jax.random.split(self._key, self._table.draws)
        return [pattern.most_probable(), *(pattern.sample(key) for key in keys)]

    def reconstruct(self, outcome: Bool[Array, "y x"], image: Array, key: Key[Array, ""]) -> Array:
        """CG-SENSE."""
        A = mri.sense(self._maps, outcome)
        return self._solve(A, complex_gaussian_noise(key, A(image), self._sigma))

    def spread(self, outcome: Any) -> np.ndarray:
        """Of the mask alone, without coils."""
        A = mri.cartesian(jnp.asarray(outcome), self.images.shape)
        return np.abs(criteria.point_spread(A))

    def drawn(self, outcome: Any) -> np.ndarray:
        """The mask; lines at their length."""
        return np.broadcast_to(np.asarray(outcome), self.images.shape)

    def facts(self, outcome: Any) -> dict[str, Any]:
        """The budget."""
        return {"budget": self.start.budget, "measured": int(np.sum(outcome)), "of": outcome.size}

    def save(self, folder: Path, outcome: Any) -> list[Path]:
        """`pattern.npz` with ``mask``, in k-space whose centre is N//2."""
        with whole_file(folder / "pattern.npz") as file:
            np.savez(file, mask=np.asarray(outcome))
        return [folder / "pattern.npz"]


def mask_shape(config: Config, images: Images) -> tuple[int, int]:
    """Of what `mri.sense` takes."""
    if config.scan.kind == "points":
        return images.shape
    y, x = images.shape
    return (1, x) if config.mask.axis == "x" else (y, 1)


def starting_pattern(table: Mask, shape: tuple[int, int]) -> masks.MaskPattern:
    """A density, or a free probability for every position that begins with it.

    Raises:
        ValueError: a budget, calibration region or density that cannot be.
    """
    n = int(np.prod(shape))
    budget = round(n / table.acceleration) if table.budget is None else table.budget
    if table.budget is None and not 1 <= budget <= n:
        raise ValueError(
            f"mask.acceleration is {table.acceleration}, a budget of {budget}, but the grid has "
            f"{n} positions: pass a number from 1 to {n}"
        )
    given: dict[str, Any] = {"calibration": table.calibration}
    if table.start == "uniform":
        if not table.free:
            raise ValueError("mask.free is False, but mask.start 'uniform' has nothing to design")
        start = None
    elif table.start == "power-law":
        start = masks.power_law(shape, budget, power=table.power, **given)
    else:
        start = masks.gaussian(shape, budget, width=table.width, **given)
    if start is not None and not table.free:
        return start
    begin = None if start is None else start.probabilities()
    if 1 not in shape:
        return masks.points(shape, budget, start=begin, **given)
    axis = -1 if shape[0] == 1 else -2
    return masks.lines(
        n, budget, axis=axis, start=None if begin is None else begin.ravel(), **given
    )


@functools.cache  # one object for equal ones, so that programs are compiled once
def falling_adam(rate: float, n_steps: int) -> Any:
    """Adam whose step falls to a tenth along a cosine."""
    return optax.adam(optax.cosine_decay_schedule(rate, max(n_steps, 1), alpha=0.1))
