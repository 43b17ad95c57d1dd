"""Discrete patterns with exact budgets: lines, points, rows, frames, views and their dose.

A pattern is a pytree whose parameters gradients may move, with `project()` back to what is
allowed. Those that are drawn have `probabilities()`, `sample(key)`, `straight_through(key)`,
`relaxed(key, temperature)` and `most_probable()`; weights have `weights()`. All have the shape that
operators take: ``mri.sense(maps, pattern.sample(key))``. Positions that are not measured have a
derivative as weights of `criteria.sampling_error`, and none as a mask of the operator itself.
"""

from jaxrecon.design.masks._anneal import Geometric, geometric
from jaxrecon.design.masks._budget import project_budget, rescale, scale_to_budget
from jaxrecon.design.masks._build import gaussian, lines, mask_weights, points, power_law, rows
from jaxrecon.design.masks._density import GaussianDensity, PowerLaw
from jaxrecon.design.masks._draw import (
    pivotal_sample,
    relaxed_bernoulli,
    soft_top_k,
    straight_through,
    top_k,
)
from jaxrecon.design.masks._free import FreePatterns, free_patterns
from jaxrecon.design.masks._pattern import MaskPattern, Selection, project
from jaxrecon.design.masks._weights import Weights, dose

__all__ = [
    "FreePatterns",
    "GaussianDensity",
    "Geometric",
    "MaskPattern",
    "PowerLaw",
    "Selection",
    "Weights",
    "dose",
    "free_patterns",
    "gaussian",
    "geometric",
    "lines",
    "mask_weights",
    "pivotal_sample",
    "points",
    "power_law",
    "project",
    "project_budget",
    "relaxed_bernoulli",
    "rescale",
    "rows",
    "scale_to_budget",
    "soft_top_k",
    "straight_through",
    "top_k",
]
