"""Weights in one file, and programs that run without the library."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.nets.storage._weights import _own_class
from jaxrecon.physics import mri
from jaxrecon.training import (
    Checkpoints,
    MismatchError,
    export,
    load_network,
    load_weights,
    read_weights,
    save_weights,
)
from tests.training.toys import Toy, images


def toy(seed=0, **options):
    net = Toy(norm=True, rate=0.1, **options, rngs=nnx.Rngs(params=seed, dropout=1))
    for i, (_, variable) in enumerate(nnx.to_flat_state(nnx.state(net, nnx.Not(nnx.RngState)))):
        variable.set_value(variable.get_value() + 0.01 * (seed + i))
    return net


def test_weights_come_back_with_statistics_and_card(tmp_path):
    checksum = save_weights(tmp_path / "w.npz", toy(1), card={"data": "none"})
    net = load_weights(tmp_path / "w.npz", toy(2), checksum=checksum)
    x = jnp.asarray(images(1))
    np.testing.assert_array_equal(net(x), toy(1)(x))
    _, description = read_weights(tmp_path / "w.npz")
    assert description["card"] == {"data": "none"}
    assert description["checksum"] == checksum
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_weights_may_be_stored_in_half_the_space(tmp_path):
    for dtype, tolerance in ((jnp.bfloat16, 2**-8), (jnp.float16, 2**-10)):
        save_weights(tmp_path / "w.npz", toy(1), dtype=dtype)
        net = load_weights(tmp_path / "w.npz", toy(2))
        kernel, exact = net.layers[0].kernel[...], toy(1).layers[0].kernel[...]
        assert kernel.dtype == jnp.float32
        assert np.max(np.abs(np.asarray(kernel - exact))) < tolerance


def test_a_network_is_built_from_its_file_only_if_it_is_ours(tmp_path, monkeypatch):
    net = toy(1)
    save_weights(tmp_path / "w.npz", net, arguments={"norm": True, "rate": 0.1})
    with pytest.raises(ValueError, match=r"tests\.training\.toys:Toy, which cannot be built"):
        load_network(tmp_path / "w.npz")
    monkeypatch.setattr("jaxrecon.nets.storage._weights._OWN", "tests.")
    again = load_network(tmp_path / "w.npz")
    x = jnp.asarray(images(1))
    np.testing.assert_array_equal(again(x), net(x))
    with pytest.raises(ValueError, match="toys:images, which is no network"):
        _own_class("tests.training.toys:images", "w.npz")


def test_wrong_and_damaged_weights_are_refused(tmp_path):
    path = tmp_path / "w.npz"
    save_weights(path, toy())
    with pytest.raises(MismatchError, match=r"`layers.0.bias` is float32\[2\] there, float32\[3\]"):
        load_weights(path, toy(features=3))
    with pytest.raises(ValueError, match="expected abc"):
        load_weights(path, toy(), checksum="abc")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["layers.0.bias"] = arrays["layers.0.bias"] + 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="is damaged"):
        load_weights(path, toy())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is not a file of weights"):
        load_weights(path, toy())
    with pytest.raises(ValueError, match="is not a file of weights"):
        load_weights(tmp_path / "none.npz", toy())


def test_the_best_and_the_last_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=1)
    assert checkpoints.restore({"step": jnp.int32(0)}) is None
    assert checkpoints.best_step is None
    for step, loss in enumerate([3.0, 1.0, 2.0, float("nan")]):
        checkpoints.save(_State(step), {"n": step}, metrics={"loss": loss})
    checkpoints.save(_State(4), {"n": 4})
    checkpoints.wait()
    assert checkpoints.steps == [1, 4]
    assert checkpoints.best_step == 1
    best, last = checkpoints.restore(_State(0), "best"), checkpoints.restore(_State(0))
    assert best is not None
    assert last is not None
    assert best[1] == {"n": 1}
    assert int(last[0].step) == 4
    with pytest.raises(ValueError, match=r"`step` is 2, .* has \[1, 4\]"):
        checkpoints.restore(_State(0), 2)
    checkpoints.close()
    with pytest.raises(ValueError, match="`keep_last` is 0"):
        Checkpoints(tmp_path, keep_last=0)


def _State(step):
    from jaxrecon.training import TrainState

    key, step = jax.random.key(0), jnp.asarray(step, jnp.int32)
    return TrainState(step=step, params={}, others={}, opt_state=(), ema=None, key=key)


class Reconstruction(nnx.Module):
    """The network on the zero-filled image, real and imaginary part apart."""

    def __init__(self):
        self.net = toy()

    def __call__(self, A, y):
        x = A.H(y)
        return jax.lax.complex(self.net(x.real), self.net(x.imag))


RUN = """
import sys
import numpy as np, jax
data = np.load(sys.argv[2])
exported = jax.export.deserialize(open(sys.argv[1], "rb").read())
np.save(sys.argv[3], exported.call(data["y"], {"outer.maps": data["maps"]}))
assert not any(m.startswith(("jaxrecon", "flax")) for m in sys.modules)
"""


def test_an_exported_network_runs_without_the_library(tmp_path):
    keys = jax.random.split(jax.random.key(0), 3)
    maps = jax.random.normal(keys[0], (2, 3, 6, 5), jnp.complex64)
    A = mri.sense(maps[0], jax.random.normal(keys[1], (6, 5)) > 0)
    y = jax.random.normal(keys[2], (2, 3, 6, 5), jnp.complex64)
    net = Reconstruction()
    (name,) = [n for n in _names(A) if n.endswith("maps")]
    path = tmp_path / "net.stablehlo"
    exported = export(net, A, path=path, inputs=[name], batch=True)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    np.savez(tmp_path / "data.npz", y=y, maps=maps)
    program = RUN.replace("outer.maps", name).replace(
        'open(sys.argv[1], "rb").read()', "bytearray(open(sys.argv[1], 'rb').read())"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""}
    command = [sys.executable, "-c", program, path, tmp_path / "data.npz", tmp_path / "x.npy"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = [net(_with_maps(A, m), one) for m, one in zip(maps, y, strict=True)]
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), jnp.stack(expected), atol=1e-5)
    assert Path(path).stat().st_size < 100_000


def _names(A):
    from jaxrecon.training import leaf_names

    return leaf_names(A)


def _with_maps(A, maps):
    leaves, structure = jax.tree.flatten(A)
    names = _names(A)
    new = [maps if n.endswith("maps") else leaf for n, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, new)


def test_an_unknown_input_is_refused_by_name():
    A = mri.sense(jnp.ones((1, 4, 4), jnp.complex64), jnp.ones((4, 4), bool))
    with pytest.raises(ValueError, match=r"`inputs` names \['map'\], the operator has \["):
        export(Reconstruction(), A, inputs=["map"])
