"""Design of the scan by gradient: what is measured is an array like any other.

A pattern is a pytree with a projection onto what the scanner can do (`masks`, `trajectories`); a
criterion says how good the scan is (`criteria`); `optimise` minimises it. `selection` chooses from
candidates one by one, also while the scan runs. A `Joint` is trained with the network that
reconstructs, by `jaxrecon.training.Trainer`.

    pattern = masks.lines(256, 64, calibration=16)
    design = optimise(criterion, pattern, project=masks.project, n_steps=200, key=key)
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from jaxrecon.design._joint import Joint, JointLoss, joint_loss, joint_optimiser

__all__ = [
    "Constant",
    "Design",
    "DesignInfo",
    "DesignState",
    "Joint",
    "JointLoss",
    "Starts",
    "criteria",
    "joint_loss",
    "joint_optimiser",
    "masks",
    "multi_start",
    "optimise",
    "selection",
    "trajectories",
]


def __getattr__(name: str) -> Any:
    """What needs flax, which takes a second to import, comes when it is asked for."""
    if not name.lower().startswith("joint") or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jaxrecon.design import _joint

    return getattr(_joint, name)
