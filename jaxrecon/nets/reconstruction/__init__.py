"""Reconstruction networks, called as ``net(A, y)`` with the operator as an argument.

One example at a time: a batch is ``jax.vmap(net)`` over scans, ``jax.vmap(net, (None, 0))`` over
measurements of one scan. Results are in the units of the measurements, whatever these are. Unrolled
networks and deep equilibria are the algorithms of `jaxrecon.solvers`, or learned ones, run by the
driver of `jaxrecon.core`.
"""

from jaxrecon.nets.reconstruction._alternating import (
    Alternating,
    KspaceAlternating,
    cascade,
    kiki,
    modl,
)
from jaxrecon.nets.reconstruction._consistency import (
    DataConsistency,
    HardConsistency,
    ProximalConsistency,
    SoftConsistency,
)
from jaxrecon.nets.reconstruction._direct import FullyConnected, PostProcessing, automap
from jaxrecon.nets.reconstruction._initial import (
    FilteredBackprojection,
    FromMeasurements,
    MatchedAdjoint,
    PseudoInverse,
    Tikhonov,
)
from jaxrecon.nets.reconstruction._iteration import LearnedIteration, PerIteration, Replaceable
from jaxrecon.nets.reconstruction._networks import (
    ConvNet,
    GradientNetwork,
    ProximalNetwork,
    stacked,
)
from jaxrecon.nets.reconstruction._primal_dual import (
    PrimalDual,
    RecurrentInference,
    learned_primal_dual,
    recurrent_inference,
)
from jaxrecon.nets.reconstruction._scan import Positive, Scan, normalise
from jaxrecon.nets.reconstruction._unrolled import Equilibrium, Unrolled
from jaxrecon.nets.reconstruction._variational import (
    CoilMapNetwork,
    FilterGradient,
    KspaceRefinement,
    end_to_end_varnet,
    variational_network,
)

__all__ = [
    "Alternating",
    "CoilMapNetwork",
    "ConvNet",
    "DataConsistency",
    "Equilibrium",
    "FilterGradient",
    "FilteredBackprojection",
    "FromMeasurements",
    "FullyConnected",
    "GradientNetwork",
    "HardConsistency",
    "KspaceAlternating",
    "KspaceRefinement",
    "LearnedIteration",
    "MatchedAdjoint",
    "PerIteration",
    "Positive",
    "PostProcessing",
    "PrimalDual",
    "ProximalConsistency",
    "ProximalNetwork",
    "PseudoInverse",
    "RecurrentInference",
    "Replaceable",
    "Scan",
    "SoftConsistency",
    "Tikhonov",
    "Unrolled",
    "automap",
    "cascade",
    "end_to_end_varnet",
    "kiki",
    "learned_primal_dual",
    "modl",
    "normalise",
    "recurrent_inference",
    "stacked",
    "variational_network",
]
