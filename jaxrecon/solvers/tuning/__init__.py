"""Choosing parameters: by cross-validation, risk, discrepancy, L-curve, or gradient."""

from jaxrecon.solvers.tuning._bilevel import Tuned, relative_squared_error, tune
from jaxrecon.solvers.tuning._choice import Choice
from jaxrecon.solvers.tuning._curves import Discrepancy, discrepancy, l_curve
from jaxrecon.solvers.tuning._risk import gcv, sure

__all__ = [
    "Choice",
    "Discrepancy",
    "Tuned",
    "discrepancy",
    "gcv",
    "l_curve",
    "relative_squared_error",
    "sure",
    "tune",
]
