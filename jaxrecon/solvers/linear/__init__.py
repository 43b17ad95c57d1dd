"""Linear systems and least squares: iterative, by preconditioning, and in closed form."""

from jaxrecon.solvers.linear._cg import (
    ConjugateGradient,
    LinearSystem,
    as_system,
    cg,
    normal_equations,
)
from jaxrecon.solvers.linear._cgls import CGLS, lstsq
from jaxrecon.solvers.linear._closed import estimate_power, power_law, tikhonov, wiener
from jaxrecon.solvers.linear._lsqr import LSQR
from jaxrecon.solvers.linear._minres import MINRES
from jaxrecon.solvers.linear._mmse import LinearEstimator, linear_mmse
from jaxrecon.solvers.linear._preconditioner import circulant, estimate_diagonal, jacobi
from jaxrecon.solvers.linear._pseudo_inverse import PseudoInverse, pseudo_inverse
from jaxrecon.solvers.linear._singular import Picard, SingularSystem, svd
from jaxrecon.solvers.linear._stacked import LeastSquaresSystem, as_least_squares, quadratic

__all__ = [
    "CGLS",
    "LSQR",
    "MINRES",
    "ConjugateGradient",
    "LeastSquaresSystem",
    "LinearEstimator",
    "LinearSystem",
    "Picard",
    "PseudoInverse",
    "SingularSystem",
    "as_least_squares",
    "as_system",
    "cg",
    "circulant",
    "estimate_diagonal",
    "estimate_power",
    "jacobi",
    "linear_mmse",
    "lstsq",
    "normal_equations",
    "power_law",
    "pseudo_inverse",
    "quadratic",
    "svd",
    "tikhonov",
    "wiener",
]
