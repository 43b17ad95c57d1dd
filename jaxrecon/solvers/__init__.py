"""Solvers: conjugate gradients, proximal gradient methods, primal-dual."""

from jaxrecon.solvers._cg import ConjugateGradient, LinearSystem, cg, normal_equations
from jaxrecon.solvers._pdhg import PDHG
from jaxrecon.solvers._proximal import FISTA, GradientDescent, ProximalGradient

__all__ = [
    "FISTA",
    "PDHG",
    "ConjugateGradient",
    "GradientDescent",
    "LinearSystem",
    "ProximalGradient",
    "cg",
    "normal_equations",
]
