"""The NUFFT over several devices and processes: points sharded, coils sharded, and gradients."""

import importlib.util

import pytest

from tests.devices import run_in_processes, run_on_devices

PRELUDE = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxrecon.physics import nufft
jax.config.update("jax_enable_x64", True)
n = jax.device_count()
mesh = jax.make_mesh((n,), ("part",), axis_types=(AxisType.Auto,))
rng = np.random.default_rng(0)
points = jnp.asarray(rng.uniform(-6, 6, (4 * n, 2)))
images = jnp.asarray(rng.normal(size=(n, 12, 11)) + 1j * rng.normal(size=(n, 12, 11)))
data = jnp.asarray(rng.normal(size=(n, 4 * n)) + 1j * rng.normal(size=(n, 4 * n)))

def build(points, n_coils):
    return nufft.nufft(points, (12, 11), batch=(n_coils,), eps=1e-9, backend=BACKEND)

def close(a, b):
    assert float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) < 1e-12

def check(sharded, plain, *arguments):
    # The loss weighs every entry differently, and reaches all gradients.
    loss = lambda f: lambda *a: jnp.sum(jnp.abs(f(*a)) ** 4 * (1 + jnp.arange(f(*a).size)
                                        .reshape(f(*a).shape)))
    close(jax.jit(sharded)(*arguments), plain(*arguments))
    for a, b in zip(jax.jit(jax.grad(loss(sharded), (0, 1)))(*arguments),
                    jax.grad(loss(plain), (0, 1))(*arguments)):
        close(a, b)

forward = lambda points, x: build(points, x.shape[0]).forward(x)
adjoint = lambda points, y: build(points, y.shape[0]).adjoint(y)
"""

POINTS = """
check(jax.shard_map(forward, mesh=mesh, in_specs=(P("part"), P()), out_specs=P(None, "part")),
      forward, points, images)
check(jax.shard_map(lambda p, y: jax.lax.psum(adjoint(p, y), "part"), mesh=mesh,
                    in_specs=(P("part"), P(None, "part")), out_specs=P()),
      adjoint, points, data)
"""

COILS = """
check(jax.shard_map(forward, mesh=mesh, in_specs=(P(), P("part")), out_specs=P("part")),
      forward, points, images)
check(jax.shard_map(adjoint, mesh=mesh, in_specs=(P(), P("part")), out_specs=P("part")),
      adjoint, points, data)
"""

# Global arrays made of what each process holds; results that every process may read.
PROCESSES = """
place = lambda a, spec: jax.make_array_from_callback(
    a.shape, NamedSharding(mesh, spec), lambda index: np.asarray(a)[index])
loss = lambda p, x: jnp.sum(jnp.abs(forward(p, x) - 1) ** 2 * (1 + jnp.arange(p.shape[0])))
weights = 1 + jnp.arange(points.shape[0])
local = lambda p, x, w: jax.lax.psum(jnp.sum(jnp.abs(forward(p, x) - 1) ** 2 * w), "part")
sharded = jax.shard_map(local, mesh=mesh, in_specs=(P("part"), P(), P("part")), out_specs=P())
value, gradients = jax.jit(jax.value_and_grad(sharded, (0, 1)))(
    place(points, P("part")), place(images, P()), place(weights, P("part")))
everywhere = jax.jit(lambda a: a, out_shardings=NamedSharding(mesh, P()))
expected, plain = jax.value_and_grad(loss, (0, 1))(points, images)
for a, b in zip((value, *gradients), (expected, *plain)):
    a = np.asarray(everywhere(a).addressable_data(0))
    assert np.linalg.norm(a - b) / np.linalg.norm(b) < 1e-12
"""

needs_finufft = pytest.mark.skipif(
    importlib.util.find_spec("jax_finufft") is None, reason="jax-finufft is not installed"
)
BACKENDS = ["xla", "dft", pytest.param("finufft", marks=needs_finufft)]


@pytest.mark.parametrize("body", [POINTS, COILS], ids=["points", "coils"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_on_eight_virtual_devices(backend, body):
    run_on_devices(f"BACKEND = {backend!r}\n" + PRELUDE + body, 8)


def test_in_two_processes():
    run_in_processes("BACKEND = 'xla'\n" + PRELUDE + PROCESSES, 2, 2)
