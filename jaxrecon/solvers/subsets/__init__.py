"""Ordered subsets and row actions: SIRT, SART, Kaczmarz, EM, surrogates, mirror descent."""

from jaxrecon.solvers.subsets._em import MLEM, OSEM
from jaxrecon.solvers.subsets._kaczmarz import Kaczmarz
from jaxrecon.solvers.subsets._mirror import MirrorDescent
from jaxrecon.solvers.subsets._order import subset_index, subset_order
from jaxrecon.solvers.subsets._problem import subset_problem
from jaxrecon.solvers.subsets._sirt import SART, SIRT
from jaxrecon.solvers.subsets._sqs import OSSQS

__all__ = [
    "MLEM",
    "OSEM",
    "OSSQS",
    "SART",
    "SIRT",
    "Kaczmarz",
    "MirrorDescent",
    "subset_index",
    "subset_order",
    "subset_problem",
]
