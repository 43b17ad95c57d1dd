"""Splitting and primal-dual algorithms on problems they must solve."""

from jaxrecon.solvers.splitting import (
    ADMM,
    HQS,
    PD3O,
    PDHG,
    SPDHG,
    CondatVu,
    ConsensusEquilibrium,
    DouglasRachford,
    LinearisedADMM,
)
from tests.solvers.problems import Case

CASES: dict[str, Case] = {
    "pdhg": Case(PDHG(), "lasso", n_iter=4000, implicit=True),
    "pdhg, one fixed step": Case(
        PDHG(adaptive=False, relaxation=1.0), "tv denoising", n_iter=4000, implicit=True
    ),
    "pdhg, diagonal": Case(PDHG(diagonal=True), "poisson", n_iter=20000),
    "pdhg, accelerated": Case(PDHG(primal_convexity=0.5), "tv denoising", n_iter=3000, tol=None),
    "admm": Case(ADMM(), "lasso", implicit=True),
    "admm, few inner steps": Case(ADMM(n_inner=3), "nonnegative", implicit=True),
    "admm, closed form": Case(ADMM(), "tv denoising", implicit=True),
    "admm, poisson": Case(ADMM(adaptive=False), "poisson", n_iter=4000),
    "admm, huber": Case(ADMM(penalty=1.0, adaptive=False), "huber", implicit=True),
    "linearised admm": Case(LinearisedADMM(), "tv denoising", n_iter=5000, implicit=True),
    # At constant penalty it solves the problem with the Moreau envelope, which is only near.
    "half-quadratic splitting": Case(
        HQS(penalty=1000.0, growth=1.0),
        "lasso",
        n_iter=6000,
        tol=1e-11,
        accuracy=1e-2,
        implicit=True,
        on_complex=False,
    ),
    "douglas-rachford": Case(DouglasRachford(n_inner=10), "lasso", implicit=True),
    "peaceman-rachford": Case(
        DouglasRachford(relaxation=2.0, n_inner=10), "huber", n_iter=4000, implicit=True
    ),
    "condat-vu": Case(CondatVu(), "tv denoising", n_iter=5000, implicit=True),
    "pd3o": Case(PD3O(), "tv denoising", n_iter=5000, implicit=True),
    "spdhg": Case(
        SPDHG(n_subsets=3), "lasso", n_iter=4000, tol=None, stochastic=True, implicit=True
    ),
    "consensus equilibrium": Case(
        ConsensusEquilibrium(weights=(1.0, 3.0), n_inner=12), "lasso", n_iter=4000, implicit=True
    ),
}
