"""Choosing what to measure from candidates: all beforehand, or one after the other.

`greedy` and `exchange` find sets for Gaussian objects, exactly and fast. `acquire` simulates a scan
in which a policy chooses each next measurement from a belief: Gaussian, an ensemble of images, or
any posterior sampler.
"""

from jaxrecon.design.selection._acquire import (
    Acquisition,
    acquire,
    at_random,
    in_order,
    most_informative,
)
from jaxrecon.design.selection._beliefs import (
    Belief,
    EnsembleBelief,
    GaussianBelief,
    SampledBelief,
    ensemble_belief,
    gaussian_belief,
    sampled_belief,
)
from jaxrecon.design.selection._greedy import Chosen, Exchanged, exchange, greedy

__all__ = [
    "Acquisition",
    "Belief",
    "Chosen",
    "EnsembleBelief",
    "Exchanged",
    "GaussianBelief",
    "SampledBelief",
    "acquire",
    "at_random",
    "ensemble_belief",
    "exchange",
    "gaussian_belief",
    "greedy",
    "in_order",
    "most_informative",
    "sampled_belief",
]
