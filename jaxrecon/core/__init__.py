"""Operators and their algebra, the derivative rule, the loop driver, tree maths, self-checks."""

from jaxrecon.core import _tree as tree
from jaxrecon.core._algorithm import Algorithm, NotConvergedError, Problem, Result, Status
from jaxrecon.core._checks import PowerIteration, adjointness, linearity, materialise, norm
from jaxrecon.core._elementary import (
    Identity,
    centered_fft,
    centered_ifft,
    crop,
    diagonal,
    fft,
    from_function,
    gradient,
    identity,
    pad,
)
from jaxrecon.core._nonlinear import chain, pointwise
from jaxrecon.core._operator import LinearOperator, Operator, block_diagonal, stack
from jaxrecon.core._pytree import operator, pytree, replace, static
from jaxrecon.core._rule import match_varying, pair
from jaxrecon.core._run import AdjointSolve, run
from jaxrecon.core._store import load, save

__all__ = [
    "AdjointSolve",
    "Algorithm",
    "Identity",
    "LinearOperator",
    "NotConvergedError",
    "Operator",
    "PowerIteration",
    "Problem",
    "Result",
    "Status",
    "adjointness",
    "block_diagonal",
    "centered_fft",
    "centered_ifft",
    "chain",
    "crop",
    "diagonal",
    "fft",
    "from_function",
    "gradient",
    "identity",
    "linearity",
    "load",
    "match_varying",
    "materialise",
    "norm",
    "operator",
    "pad",
    "pair",
    "pointwise",
    "pytree",
    "replace",
    "run",
    "save",
    "stack",
    "static",
    "tree",
]
