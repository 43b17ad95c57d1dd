"""One device, eight of them and two processes of four train the same network."""

import sys

import pytest

from tests.devices import run_in_processes, run_on_devices

PRELUDE = """
import jax, jax.numpy as jnp, numpy as np, optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxrecon.training import (Trainer, create_state, data_mesh, evaluate, place_batch, place_state,
                               process_rows, state_sharding, train_step)
from jaxrecon.training.input import ArraySource, Batches
from tests.training.toys import Toy, denoising, images, source
jax.config.update("jax_disable_most_optimizations", True)

def train(n_steps, dtype, mesh=None, loss=denoising, norm=True, **settings):
    net = Toy(8, norm=norm, rate=0.1, param_dtype=dtype, rngs=nnx.Rngs(params=0, dropout=1))
    rows = None if mesh is None else process_rows(mesh, 8)
    data = Batches(source(20, dtype), 8, rows=rows, n_threads=1)
    trainer = Trainer(loss=loss, optimiser=optax.sgd(0.1, 0.9), n_steps=n_steps, ema_decay=0.9,
                      mesh=mesh, progress=False, **settings)
    return trainer.fit(net, data, key=jax.random.key(2))

def numbers(trained):
    state = trained.state
    leaves = jax.tree.leaves((state.params, state.ema, state.others.get("norm")))
    return np.concatenate([np.ravel(np.asarray(x)) for x in leaves])

def difference(a, b):
    return np.max(np.abs(numbers(a) - numbers(b))) / np.max(np.abs(numbers(b)))
"""

SINGLE = """
one = train(10, np.float32)
"""

EIGHT = """
eight = train(10, np.float32, data_mesh())
assert difference(eight, one) < 1e-5
split = train(10, np.float32, data_mesh(), shard_params=True, min_shard_size=8)
assert split.state.params["layers"][0]["kernel"].addressable_shards[0].data.shape == (3, 3, 1, 1)
assert difference(split, one) < 1e-5
"""

DOUBLE = """
jax.config.update("jax_enable_x64", True)
one = train(200, np.float64)
eight = train(200, np.float64, data_mesh())
assert difference(eight, one) < 1e-9, difference(eight, one)
moved = train(1, np.float64)
assert difference(moved, one) > 1e-3  # it did train
"""

MANUAL = """
# Split by hand: no example leaves its device, be it transformed or not; parts stay where they are.
def fourier(net, example, key):
    spectrum = jnp.fft.fft2(net(example["image"]))
    return jnp.mean(jnp.abs(spectrum) ** 2), {}

mesh = data_mesh(4)
one = train(3, np.float32, loss=fourier, norm=False)
hand = train(3, np.float32, mesh, loss=fourier, norm=False, manual=True)
assert difference(hand, one) < 1e-5
net = Toy(rngs=nnx.Rngs(0))
graphdef, state = create_state(net, optax.sgd(0.1), key=jax.random.key(0))
state = place_state(state, state_sharding(state, mesh))
batch = place_batch({"image": images(8)}, mesh)
step = train_step(fourier, optax.sgd(0.1), n_parts=2, manual=mesh)
text = jax.jit(step, static_argnums=0).lower(graphdef, state, batch).compile().as_text()
assert "all-reduce" in text
assert "all-gather" not in text and "all-to-all" not in text, text
"""

PLACES = """
mesh = data_mesh()
state = {"large": jnp.zeros((3, 16, 8)), "odd": jnp.zeros((9, 9)), "small": jnp.zeros(8)}
places = state_sharding(state, mesh, shard_params=True, min_size=16)
assert places["large"].spec == P(None, "data"), places["large"].spec
assert places["odd"].spec == P() and places["small"].spec == P()
assert state_sharding(state, mesh)["large"].spec == P()
placed = place_state(state, places)
assert placed["large"].addressable_shards[0].data.shape == (3, 2, 8)
assert process_rows(mesh, 16).tolist() == list(range(16))
# An evaluation over devices is that over one.
net = Toy(rngs=nnx.Rngs(0))
graphdef, state = create_state(net, optax.sgd(0.1), key=jax.random.key(0))
one = evaluate(denoising, graphdef, state, source(11), batch_size=8)
state = place_state(state, state_sharding(state, mesh))
eight = evaluate(denoising, graphdef, state, source(11), batch_size=8, mesh=mesh)
assert all(abs(one[k] - eight[k]) < 1e-6 for k in one), (one, eight)
"""


@pytest.mark.parametrize(
    "body",
    [SINGLE + EIGHT + MANUAL, PLACES + DOUBLE],
    ids=["single precision", "double precision"],
)
def test_eight_devices_train_as_one(body):
    run_on_devices(PRELUDE + body, 8)


CURVE = """
import os, signal
from jaxrecon.training import Preempted

def curve(n_steps, folder=None, mesh=None, kind=Batches):
    losses = {}
    net = Toy(norm=True, rate=0.1, rngs=nnx.Rngs(params=0, dropout=1))
    trainer = Trainer(loss=denoising, optimiser=optax.sgd(0.1, 0.9), n_steps=n_steps, log_every=1,
                      ema_decay=0.9, mesh=mesh, progress=False, folder=folder,
                      on_log=lambda kind, step, figures: losses.update({step: figures["loss"]}))
    rows = None if mesh is None else process_rows(mesh, 8)
    try:
        trainer.fit(net, kind(source(20), 8, rows=rows, n_threads=1), key=jax.random.key(2))
    except Preempted as stopped:
        assert max(losses) == stopped.step
    return losses
"""

REFERENCE = """
np.save(os.environ["REFERENCE"], list(curve(100).values()))
"""

# One of the two is asked to stop: both do, at the same step, and go on together.
PROCESSES = """
class Killing(Batches):
    def __next__(self):
        if self.get_state()["batch"] == 3 and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__next__()

mesh = data_mesh()
assert jax.process_count() == 2 and mesh.devices.size == 8
assert len(process_rows(mesh, 8)) == 4
first = curve(10**6, os.environ["FOLDER"], mesh, Killing)
second = curve(max(first) + 11, os.environ["FOLDER"], mesh)
assert list(second) == list(range(max(first) + 1, max(first) + 12))
joined = {**first, **second}
reference = dict(enumerate(np.load(os.environ["REFERENCE"]), start=1))
assert len(joined) >= 11
error = {step: abs(joined[step] / reference[step] - 1) for step in joined if step in reference}
assert max(e for step, e in error.items() if step <= 11) < 1e-5, error
assert max(error.values()) < 1e-3, error
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes talk through gloo: Linux only")
def test_two_processes_of_four_devices_train_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("REFERENCE", str(tmp_path / "reference.npy"))
    monkeypatch.setenv("FOLDER", str(tmp_path / "run"))
    run_on_devices(PRELUDE + CURVE + REFERENCE, 1)
    run_in_processes(PRELUDE + CURVE + PROCESSES, 2, 4)
