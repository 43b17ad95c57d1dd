"""Splitting and primal-dual methods."""

from jaxrecon.solvers.splitting._admm import ADMM, LinearisedADMM
from jaxrecon.solvers.splitting._condat_vu import PD3O, CondatVu
from jaxrecon.solvers.splitting._consensus import ConsensusEquilibrium
from jaxrecon.solvers.splitting._data_step import data_step
from jaxrecon.solvers.splitting._douglas_rachford import DouglasRachford
from jaxrecon.solvers.splitting._hqs import HQS
from jaxrecon.solvers.splitting._pdhg import PDHG
from jaxrecon.solvers.splitting._spdhg import SPDHG

__all__ = [
    "ADMM",
    "HQS",
    "PD3O",
    "PDHG",
    "SPDHG",
    "CondatVu",
    "ConsensusEquilibrium",
    "DouglasRachford",
    "LinearisedADMM",
    "data_step",
]
