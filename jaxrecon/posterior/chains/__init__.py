"""Markov chains on the posterior."""

from jaxrecon.posterior.chains._langevin import Langevin
from jaxrecon.posterior.chains._mala import MALA
from jaxrecon.posterior.chains._skrock import SKROCK

__all__ = ["MALA", "SKROCK", "Langevin"]
