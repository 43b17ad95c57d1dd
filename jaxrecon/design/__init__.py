"""Design of the scan by gradient: what is measured is an array like any other.

A pattern is a pytree with a projection onto what the scanner can do (`masks`, `trajectories`); a
criterion says how good the scan is (`criteria`); `optimise` minimises it. `selection` chooses from
candidates one by one, also while the scan runs.

    pattern = masks.lines(256, 64, calibration=16)
    design = optimise(criterion, pattern, project=masks.project, n_steps=200, key=key)
"""

from jaxrecon.design import criteria, masks, selection, trajectories
from jaxrecon.design._optimise import (
    Constant,
    Design,
    DesignInfo,
    DesignState,
    Starts,
    multi_start,
    optimise,
)

__all__ = [
    "Constant",
    "Design",
    "DesignInfo",
    "DesignState",
    "Starts",
    "criteria",
    "masks",
    "multi_start",
    "optimise",
    "selection",
    "trajectories",
]
