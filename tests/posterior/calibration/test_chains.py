"""Chains with known correlation and known faults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.posterior import calibration as C

RNG = np.random.default_rng(6)
CHAINS, DRAWS = 4, 1000
INDEPENDENT = jnp.asarray(RNG.standard_normal((CHAINS, DRAWS)))


def autoregressive(rho, n):
    """x_t = ρ x_{t−1} + √(1 − ρ²) ε_t, whose effective sample size is n (1 − ρ)/(1 + ρ)."""
    x = np.random.default_rng(0).standard_normal((CHAINS, n))
    for t in range(1, n):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    return jnp.asarray(x)


@pytest.mark.parametrize("rho", [0.8, -0.4])
def test_effective_sample_size_of_autoregressions(rho):
    chains, n = autoregressive(rho, 5000), CHAINS * 5000
    assert float(C.ess_mean(chains)) == pytest.approx(n * (1 - rho) / (1 + rho), rel=0.15)
    assert float(C.ess_bulk(chains)) == pytest.approx(n * (1 - rho) / (1 + rho), rel=0.15)


def test_tails_may_be_worse_than_the_centre():
    """Draws that leave their tail at fixed times only: the centre is independent."""
    stuck = jnp.where(jnp.arange(DRAWS) % 500 < 60, 10.0 + INDEPENDENT, INDEPENDENT)
    assert C.ess_tail(stuck) < 200 < 2000 < C.ess_tail(INDEPENDENT)


@pytest.mark.parametrize(
    "wrong",
    [
        INDEPENDENT.at[0].add(1.0),  # stands elsewhere
        INDEPENDENT.at[0].multiply(3.0),  # only wider: the mean does not show it
        INDEPENDENT + jnp.linspace(0, 2, DRAWS),  # all drift alike: only halves show it
        jnp.tan(INDEPENDENT * 1.5).at[0].add(4.0),  # no variance to compare with
    ],
    ids=["shifted", "wider", "drifting", "heavy"],
)
def test_r_hat_sees_what_has_not_mixed(wrong):
    assert C.r_hat(INDEPENDENT) < 1.01
    assert C.r_hat(wrong) > 1.05


def test_r_hat_does_not_depend_on_the_scale_of_draws():
    found = C.r_hat(INDEPENDENT.at[1].add(0.3))
    assert float(C.ess_bulk(jnp.exp(INDEPENDENT))) == float(C.ess_bulk(INDEPENDENT))
    assert float(C.r_hat(5 * INDEPENDENT.at[1].add(0.3))) == pytest.approx(float(found), rel=1e-5)


def test_repeated_draws_share_their_rank():
    """As a rejecting sampler gives: ten times the draws, no more information."""
    repeated = jnp.repeat(INDEPENDENT[:, :100], 10, axis=1)
    assert float(C.ess_bulk(repeated)) == pytest.approx(CHAINS * 100, rel=0.25)
    assert np.isnan(C.ess_bulk(jnp.ones_like(INDEPENDENT)))
    assert np.isnan(C.r_hat(jnp.ones_like(INDEPENDENT)))


def test_pixels_are_judged_apart():
    chains = jnp.stack([INDEPENDENT, INDEPENDENT.at[0].add(1.0)], -1)[..., None]
    found = jax.vmap(C.r_hat, -1)(chains)[0]
    assert found.shape == (2,)
    np.testing.assert_allclose(C.r_hat(chains)[:, 0], found, rtol=1e-5)
    assert found[0] < 1.01 < 1.05 < found[1]


def test_too_few_draws():
    with pytest.raises(ValueError, match=r"`chains` has shape \(4, 7\).*at least 8 draws"):
        C.r_hat(INDEPENDENT[:, :7])
