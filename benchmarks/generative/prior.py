"""Trains the diffusion prior that ships, of T1 slices of heads at 64².

    python benchmarks/generative/prior.py [--steps 12000] [--seed 0] [--out FOLDER]

A small `ScoreUNet` with the preconditioning, levels and weights of Karras et al. (2022), on one
core about five steps of eight slices a second. Zoom, shifts, brightness and changes of contrast
make more of the few volumes that are open. The learning rate is constant and weights are averaged,
so that a training may be stopped whenever time is up, and goes on from its newest checkpoint when
it is called again. `publish_prior.py` judges what was reached and writes it with its card.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))

import jax
import jax.numpy as jnp
from _brains import training_slices, validation_slices
from flax import nnx
from jax.tree_util import Partial

from jaxrecon.nets.layers import n_parameters
from jaxrecon.nets.pretrained import DiffusionPrior
from jaxrecon.training import Trainer, adamw
from jaxrecon.training.input import ArraySource, Augment, Batches, augmented
from jaxrecon.training.losses.generative import DenoisingScoreMatching, LogNormal, edm_weight

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SIZE, BATCH, RATE, DECAY = 64, 8, 5e-4, 0.999
ARCHITECTURE = DiffusionPrior(
    width=32, factors=(1, 2, 2), n_blocks=1, n_heads=4, window=8, patch=2, sigma_data=0.3
)
LEVELS = LogNormal(mean=-1.6, deviation=1.4)
MOVES = Augment(rotations=False, flips=False, zoom=(0.95, 1.4), shift=3.0, brightness=(0.6, 1.1))
KNOTS = (0.0, 0.25, 0.5, 0.75, 1.1)  # of the curves that change the contrast


def varied(image: jax.Array, key: jax.Array) -> jax.Array:
    """Moved, and every second time with its values on a curve drawn at random: another contrast.

    One volume has one contrast, and a network that has seen no other removes others with the noise.
    """
    key_move, key_curve, key_whether = jax.random.split(key, 3)
    image = MOVES(image, key_move)
    values = jax.random.uniform(key_curve, (len(KNOTS) - 1,), minval=0.05, maxval=1.0)
    curve = jnp.concatenate([jnp.zeros(1), values])  # air stays black
    changed = jnp.interp(image, jnp.asarray(KNOTS), curve)
    return jnp.where(jax.random.bernoulli(key_whether), changed, image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/")
    parser.add_argument("--out", type=Path, default=Path(".prior"), help="folder for the training")
    parser.add_argument("--validate-every", type=int, default=250, metavar="STEPS")
    options = parser.parse_args()
    net = ARCHITECTURE.build(rngs=nnx.Rngs(options.seed))
    print(json.dumps({"parameters": n_parameters(net), "seed": options.seed}), flush=True)
    slices = ArraySource(x=training_slices(options.data, SIZE))
    unseen = ArraySource(x=validation_slices(options.data, SIZE))
    batches = Batches(slices, BATCH, seed=options.seed)
    trainer(options).fit(net, batches, unseen, key=jax.random.key(options.seed))


def trainer(options: argparse.Namespace) -> Trainer:
    """How it is trained; also where its checkpoints are."""
    loss = DenoisingScoreMatching(LEVELS, Partial(edm_weight, sigma_data=ARCHITECTURE.sigma_data))
    return Trainer(
        loss=augmented(loss, varied, names=("x",)),
        evaluation=loss,
        optimiser=adamw(RATE, n_warmup=200),
        n_steps=options.steps,
        folder=options.out / f"seed-{options.seed}",
        ema_decay=DECAY,
        log_every=50,
        validate_every=options.validate_every,
        on_log=_show,
    )


def _show(kind: str, step: int, values: dict[str, Any]) -> None:
    print(json.dumps({kind: step, **{k: round(v, 4) for k, v in values.items()}}), flush=True)


if __name__ == "__main__":
    main()
