"""The solvers of linear systems and least squares, as the registry tests them."""

from jaxrecon.solvers.linear import CGLS, LSQR, MINRES, ConjugateGradient
from tests.solvers.problems import Case

CASES = {
    "cg": Case(ConjugateGradient(), "tikhonov", n_iter=40, implicit=True),
    "cg, two blocks": Case(ConjugateGradient(), "two blocks", n_iter=40, implicit=True),
    "cgls": Case(CGLS(), "least squares", n_iter=40, implicit=True),
    "cgls, two blocks": Case(CGLS(), "two blocks", n_iter=40, implicit=True),
    "lsqr": Case(LSQR(), "two blocks", n_iter=40, implicit=True),
    "minres": Case(MINRES(), "tikhonov", n_iter=40, implicit=True),
}
