"""Operators and their algebra, the elementary ones, the derivative rule."""

from jaxrecon.core.operators._abstract import Operator
from jaxrecon.core.operators._blocks import block_diagonal, component, stack
from jaxrecon.core.operators._elementary import (
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
from jaxrecon.core.operators._nonlinear import chain, pointwise
from jaxrecon.core.operators._operator import Circulant, Identity, LinearOperator
from jaxrecon.core.operators._rule import match_varying, pair, shared_sum

__all__ = [
    "Circulant",
    "Identity",
    "LinearOperator",
    "Operator",
    "block_diagonal",
    "centered_fft",
    "centered_ifft",
    "chain",
    "component",
    "crop",
    "diagonal",
    "fft",
    "from_function",
    "gradient",
    "identity",
    "match_varying",
    "pad",
    "pair",
    "pointwise",
    "shared_sum",
    "stack",
]
