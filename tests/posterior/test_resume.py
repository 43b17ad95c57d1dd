"""Long runs in parts, and samples on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Problem, run
from jaxrecon.functionals import SquaredL2
from jaxrecon.posterior import (
    MALA,
    Diffusion,
    ProximalStep,
    REDDiff,
    SplitGibbs,
    advance,
    begin,
    sample,
)
from tests.devices import run_on_devices
from tests.posterior.exact import KEYS, known

LEVELS = (8.0, 2.0, 0.5, 0.1, 0.0)


SAMPLERS = {
    "Diffusion": lambda levels: Diffusion(levels, ProximalStep(), fresh=0.5),
    "REDDiff": lambda levels: REDDiff(levels, 1.0, 0.1),
    "SplitGibbs": lambda levels: SplitGibbs(levels, n_denoise=2),
}


@pytest.mark.parametrize(("name", "n"), [("Diffusion", 2), ("REDDiff", None), ("SplitGibbs", None)])
def test_two_halves_are_one_run(quick, name, n):
    """The state is stored as plain arrays between them, as a checkpoint does."""
    target, sampler = known().target, SAMPLERS[name](jnp.array(LEVELS))
    whole = sample(sampler, target, KEYS[1], n_samples=n)
    half = advance(sampler, target, begin(sampler, target, KEYS[1], n_samples=n), 2)
    done = advance(sampler, target, restored(half.value), 2)
    np.testing.assert_allclose(sampler.value(done.value), whole.value, rtol=1e-5, atol=1e-6)
    assert bool(jnp.all(done.status.ok))
    assert not np.allclose(sampler.value(half.value), whole.value)


def test_no_step_beyond_the_levels(quick):
    target, sampler = known().target, SAMPLERS["Diffusion"](jnp.array(LEVELS))
    half = advance(sampler, target, begin(sampler, target, KEYS[1]), 3)
    with pytest.raises(ValueError, match="`n_steps` is 2, but the sampler has 1 left"):
        advance(sampler, target, half.value, 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_levels_stay_only_where_that_has_a_meaning(quick, name):
    target, sampler = known().target, SAMPLERS[name](jnp.array([1.0, 0.5, 0.5, 0.0]))
    if name != "Diffusion":
        begin(sampler, target, KEYS[1])
        return
    for refused in (begin, sample):
        with pytest.raises(ValueError, match="`levels`"):
            refused(sampler, target, KEYS[1])


def test_chains_go_on(quick):
    target, chain = known().target, MALA(0.1)
    target = Problem((*target.likelihood.terms, (SquaredL2(), target.denoiser.basis)))
    whole = run(chain, target, n_iter=6, key=KEYS[2])
    half = advance(chain, target, begin(chain, target, KEYS[2]), 4)
    done = advance(chain, target, restored(half.value), 2, record=lambda target, s: s.key)
    np.testing.assert_allclose(chain.value(done.value), whole.value, rtol=1e-5)
    assert done.record.shape == (2,)


def restored(state):
    """There and back through numpy."""
    is_key = lambda a: jnp.issubdtype(a.dtype, jax.dtypes.prng_key)  # noqa: E731
    stored = jax.tree.map(lambda a: np.asarray(jax.random.key_data(a) if is_key(a) else a), state)
    back = lambda a, b: jax.random.wrap_key_data(b) if is_key(a) else jnp.asarray(b)  # noqa: E731
    return jax.tree.map(back, state, stored)


def test_samples_are_shared_by_devices():
    run_on_devices(
        """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxrecon.core import fft, identity
from jaxrecon.physics import optics
from jaxrecon.posterior import *
mesh = jax.make_mesh((2,), ("sample",), axis_types=(AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("sample"))
x = jnp.zeros((4, 4))
prior = Gaussian(x, fft(x), jnp.ones((4, 4)))
target = posterior(optics.inpaint(jnp.eye(4, dtype=bool), x), x, 0.1, prior)
levels = jnp.array([4.0, 1.0, 0.0])
for sampler in (Diffusion(levels, PiGDM(), fresh=0.5), DDRM(levels)):
    alone = sample(sampler, target, jax.random.key(0), n_samples=4)
    shared = sample(sampler, target, jax.random.key(0), n_samples=4, sharding=sharding)
    assert shared.value.sharding.is_equivalent_to(sharding, 3), shared.value.sharding
    np.testing.assert_allclose(shared.value, alone.value, atol=1e-5)
    assert bool(jnp.all(shared.status.ok))
text = "`n_samples` is 3, which `sharding` cannot share"
try:
    sample(sampler, target, jax.random.key(0), n_samples=3, sharding=sharding)
except ValueError as error:
    assert text in str(error), error
else:
    raise AssertionError("three samples on two devices")
""",
        2,
    )
