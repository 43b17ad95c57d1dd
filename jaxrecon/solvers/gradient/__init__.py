"""Gradient, proximal gradient, quasi-Newton and Gauss-Newton methods, Anderson acceleration."""

from jaxrecon.solvers.gradient._anderson import Anderson
from jaxrecon.solvers.gradient._lbfgs import LBFGS
from jaxrecon.solvers.gradient._linesearch import Backtracking
from jaxrecon.solvers.gradient._newton import GaussNewton, LevenbergMarquardt
from jaxrecon.solvers.gradient._pogm import POGM
from jaxrecon.solvers.gradient._proximal import FISTA, GradientDescent, ProximalGradient
from jaxrecon.solvers.gradient._spectral import BarzilaiBorwein

__all__ = [
    "FISTA",
    "LBFGS",
    "POGM",
    "Anderson",
    "Backtracking",
    "BarzilaiBorwein",
    "GaussNewton",
    "GradientDescent",
    "LevenbergMarquardt",
    "ProximalGradient",
]
