"""Row-action and ordered-subset methods that reach the problem's own minimiser."""

from jaxrecon.solvers.subsets import MLEM, MirrorDescent
from tests.solvers.problems import Case

CASES = {
    "mlem": Case(MLEM(), "poisson", n_iter=20000, tol=1e-11, implicit=True, on_complex=False),
    "mirror descent": Case(
        MirrorDescent(), "nonnegative", n_iter=20000, tol=1e-11, implicit=True, on_complex=False
    ),
}
