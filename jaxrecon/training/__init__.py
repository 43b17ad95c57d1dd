"""Training: pure sharded steps, the loop around them, data, checkpoints, weights, export.

Start from `Trainer`; each of its parts can be used without it.
"""

from jaxrecon.training import input, losses
from jaxrecon.training._logs import read_logs
from jaxrecon.training._loop import DivergedError, Trained
from jaxrecon.training._optimiser import adamw, schedule
from jaxrecon.training._preempt import PREEMPTED, Preempted
from jaxrecon.training._sharding import (
    batch_sharding,
    data_mesh,
    place_batch,
    place_state,
    process_rows,
    state_sharding,
)
from jaxrecon.training._state import TrainState, create_state, leaf_names, network
from jaxrecon.training._step import (
    BATCH,
    EvaluateStep,
    TrainStep,
    evaluate_step,
    train_step,
)
from jaxrecon.training._trainer import Trainer
from jaxrecon.training._validation import evaluate
from jaxrecon.training.storage import (
    Checkpoints,
    MismatchError,
    export,
    load_network,
    load_weights,
    read_weights,
    save_weights,
)

__all__ = [
    "BATCH",
    "PREEMPTED",
    "Checkpoints",
    "DivergedError",
    "EvaluateStep",
    "MismatchError",
    "Preempted",
    "TrainState",
    "TrainStep",
    "Trained",
    "Trainer",
    "adamw",
    "batch_sharding",
    "create_state",
    "data_mesh",
    "evaluate",
    "evaluate_step",
    "export",
    "input",
    "leaf_names",
    "load_network",
    "load_weights",
    "losses",
    "network",
    "place_batch",
    "place_state",
    "process_rows",
    "read_logs",
    "read_weights",
    "save_weights",
    "schedule",
    "state_sharding",
    "train_step",
]
