"""Operators and solvers on several (virtual) devices: shard_map, sharded jit, pmap.

Each test runs in a process of its own, because the number of CPU devices is fixed at start.
"""

import pytest

from tests.devices import run_on_devices

PRELUDE = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxrecon.core import Problem, from_function, pair, run
from jaxrecon.functionals import LeastSquares
from jaxrecon.solvers import ProximalGradient
jax.config.update("jax_enable_x64", True)
mesh = jax.make_mesh((4,), ("part",), axis_types=(AxisType.Auto,))

forward = lambda spec, w, x: jnp.matmul(jnp.exp(1j * w), x)
adjoint = lambda spec, w, y: jnp.matmul(jnp.exp(-1j * w).T, y)
pullback = lambda spec, w, x, v: jax.grad(
    lambda w: jnp.sum((jnp.conj(v) * forward(spec, w, x)).real))(w)
apply, apply_adjoint = pair(forward, adjoint, pullback)
keys = jax.random.split(jax.random.key(0), 3)
w = jax.random.normal(keys[0], (8, 5))
x = jax.random.normal(keys[1], (5,), jnp.complex128)
y = jax.random.normal(keys[2], (8,), jnp.complex128)
close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
"""

VIEWS = """
# Views sharded, image replicated: the adjoint's psum and its gradient come from the lifting.
split = jax.shard_map(lambda w, x: apply(None, w, x), mesh=mesh,
                      in_specs=(P("part"), P()), out_specs=P("part"))
back = jax.shard_map(lambda w, y: jax.lax.psum(apply_adjoint(None, w, y), "part"), mesh=mesh,
                     in_specs=(P("part"), P("part")), out_specs=P())
close(split(w, x), forward(None, w, x))
close(back(w, y), adjoint(None, w, y))
for f, g, z in ((split, forward, x), (back, adjoint, y)):
    g = (lambda g: lambda w, z: g(None, w, z))(g)
    loss = lambda h: lambda w, z: jnp.sum(jnp.abs(h(w, z)) ** 4)
    for a, b in zip(jax.jit(jax.grad(loss(f), (0, 1)))(w, z), jax.grad(loss(g), (0, 1))(w, z)):
        close(a, b)
"""

INSIDE = """
# The gradient taken inside shard_map, check_vma=True.
def inside(w, x, y):
    loss = lambda w, x: jnp.sum(jnp.abs(apply(None, w, x) - y) ** 2)
    grads = jax.grad(lambda w, x: jax.lax.psum(loss(w, x), "part"), (0, 1))(w, x)
    return grads
sharded = jax.shard_map(inside, mesh=mesh, in_specs=(P("part"), P(), P("part")),
                        out_specs=(P("part"), P()))
plain = jax.grad(lambda w, x: jnp.sum(jnp.abs(forward(None, w, x) - y) ** 2), (0, 1))(w, x)
for a, b in zip(jax.jit(sharded)(w, x, y), plain):
    close(a, b)
"""

BATCH = """
# Batch sharded by jit, and by shard_map, and by pmap.
batch = jax.random.normal(keys[2], (8, 5), jnp.complex128)
loss = lambda w, batch: jnp.sum(jnp.abs(jax.vmap(lambda x: apply(None, w, x))(batch)) ** 4)
expected = jax.grad(loss)(w, batch)
placed = jax.device_put(batch, NamedSharding(mesh, P("part")))
close(jax.jit(jax.grad(loss))(w, placed), expected)
split = jax.shard_map(lambda w, b: jax.lax.psum(loss(w, b), "part"), mesh=mesh,
                      in_specs=(P(), P("part")), out_specs=P())
close(jax.jit(jax.grad(split))(w, batch), expected)
mapped = jax.pmap(lambda x: apply(None, w, x))(batch[:4])
close(mapped, jax.vmap(lambda x: forward(None, w, x))(batch[:4]))
"""

SOLVER = """
# A whole solver inside shard_map, one problem a device.
def solve(y):
    A = from_function(lambda M, x: M @ x, jax.ShapeDtypeStruct((5,), y.dtype), jnp.exp(1j * w))
    problem = Problem(((LeastSquares(y), A),))
    return run(ProximalGradient(), problem, jnp.zeros(5, y.dtype), n_iter=30, tol=1e-9).value
ys = jax.random.normal(keys[2], (4, 8), jnp.complex128)
one = lambda y: solve(y[0])[None]
split = jax.shard_map(one, mesh=mesh, in_specs=P("part"), out_specs=P("part"))
close(jax.jit(split)(ys), jnp.stack([solve(y) for y in ys]))
"""


PROJECTOR = """
# The projector itself: views sharded, image replicated, gradients in image and poses; and pmap.
from jaxrecon import core
from jaxrecon.physics import ct
A = ct.parallel_beam(jnp.linspace(0.1, 3.0, 8), (9, 8), 13, bin_pitch=0.9)
image = jax.random.normal(keys[0], (9, 8))
split = jax.shard_map(lambda A, x: A.forward(x), mesh=mesh, in_specs=(P("part"), P()),
                      out_specs=P("part"))
back = jax.shard_map(lambda A, y: jax.lax.psum(A.adjoint(y), "part"), mesh=mesh,
                     in_specs=(P("part"), P("part")), out_specs=P())
close(split(A, image), A(image))
close(back(A, A(image)), A.H(A(image)))
gradient = lambda f: jax.jit(jax.grad(lambda A, x: jnp.sum(f(A, x) ** 4), (0, 1)))(A, image)
pairs = zip(*map(jax.tree.leaves, (gradient(split), gradient(lambda A, x: A(x)))))
for a, b in pairs:
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
batch = jnp.stack([image, 2 * image])
close(jax.pmap(A)(batch), jax.vmap(A)(batch))
"""

BODIES = {
    "projector": PROJECTOR,
    "views": VIEWS,
    "inside": INSIDE,
    "batch": BATCH,
    "solver": SOLVER,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_on_four_virtual_devices(body):
    run_on_devices(PRELUDE + body, 4)
