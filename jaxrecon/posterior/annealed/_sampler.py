"""What comes down from noise: an algorithm with levels, and independent samples by it."""

from typing import Any, ClassVar

import jax
import jax.core
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import Algorithm, Result, run
from jaxrecon.posterior._posterior import Posterior


class Sampler(Algorithm):
    """An algorithm that is done after one step for each of its levels but the last, zero.

    Attributes:
        levels: falling, with zero at the end.
        may_stay: whether a level may stand several times.
    """

    may_stay: ClassVar[bool] = False

    levels: Float[Array, " level"]

    @property
    def n_steps(self) -> int:
        """How many there are."""
        return self.levels.shape[0] - 1


def sample(
    sampler: Sampler,
    target: Posterior,
    key: Key[Array, ""],
    *,
    n_samples: int | None = None,
    x0: PyTree = None,
    record: Any = None,
    progress: Any = None,
    sharding: NamedSharding | None = None,
) -> Result:
    """Independent samples of p(x | y).

    Args:
        sampler: with its levels and guidance.
        target: what to sample.
        key: of all samples.
        n_samples: how many, along a leading axis of everything; None for one without that axis.
        x0: where the noise is added at the start; zeros by default.
        record: ``record(target, x)`` is kept of every step, such as ``lambda target, x: x``.
        progress: as for `run`; of one sample alone.
        sharding: of the axis of samples over devices: each makes its own, of the same keys.

    Returns:
        The samples as `value`, and their status.

    Raises:
        ValueError: no samples, levels that cannot be, a guidance that does not fit, samples that
            cannot be shared evenly.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.posterior import Diffusion, Gaussian, PiGDM, karras_levels, posterior
        >>> A = identity(jnp.zeros(2))
        >>> target = posterior(A, jnp.ones(2), 0.1, Gaussian(jnp.zeros(2), A, jnp.ones(2)))
        >>> sampler = Diffusion(karras_levels(10, high=20.0, low=1e-2), PiGDM())
        >>> sample(sampler, target, jax.random.key(0), n_samples=5).value.shape
        (5, 2)
    """
    check_levels(sampler.levels, may_stay=sampler.may_stay)
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"`n_samples` is {n_samples}, expected at least 1")
    options: dict[str, Any] = {"n_iter": sampler.n_steps, "record": record, "progress": progress}

    def one(sampler: Sampler, target: Posterior, x0: PyTree, key: Any) -> Result:
        return run(sampler, target, x0, key=key, **options)

    if n_samples is None:
        return one(sampler, target, x0, key)
    many = jax.vmap(one, (None, None, None, 0))
    keys = jax.random.split(key, n_samples)
    if sharding is None:
        return many(sampler, target, x0, keys)
    return _shared(many, sharding, n_samples)(sampler, target, x0, keys)


def _shared(many: Any, sharding: NamedSharding, n_samples: int) -> Any:
    """On every device its part: `shard_map`, as automatic sharding gathers what goes into FFTs."""
    spec = sharding.spec
    try:
        sharding.shard_shape((n_samples,))
    except ValueError as error:
        what = f"`n_samples` is {n_samples}, which `sharding` cannot share: {error}"
        raise ValueError(what) from error
    whole = jax.sharding.PartitionSpec()
    in_specs = (whole, whole, whole, spec)
    return jax.jit(jax.shard_map(many, mesh=sharding.mesh, in_specs=in_specs, out_specs=spec))


def key_of(key: Any) -> Any:
    """The key itself, if there is one.

    Raises:
        ValueError: there is none.
    """
    if key is None:
        raise ValueError("`key` is None; a sampler needs one")
    return key


def check_levels(levels: Array, *, may_stay: bool = False) -> None:
    """Raises where levels, as far as they are known, do not fall to zero.

    Raises:
        ValueError: says so.
    """
    if levels.ndim != 1 or levels.shape[0] < 2:
        raise ValueError(f"`levels` has shape {levels.shape}, expected at least two levels")
    if isinstance(levels, jax.core.Tracer):
        return
    known = np.asarray(levels)
    steps = np.diff(known)
    falls = (steps <= 0) if may_stay else (steps < 0)
    if known[-1] != 0 or not (known[:-1] > 0).all() or not falls.all():
        raise ValueError("`levels` do not fall to zero: see `karras_levels`")
