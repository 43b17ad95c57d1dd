"""Algorithms inside `shard_map`: the measurement split over devices, the image on all of them.

One process for all: the number of CPU devices is fixed at start.
"""

from tests.devices import run_on_devices

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from jax.sharding import AxisType, PartitionSpec as P
from jaxrecon import functionals as F, solvers as S
from jaxrecon.core import LinearOperator, Problem, gradient, identity, operator, run

mesh = jax.make_mesh((2,), ("part",), axis_types=(AxisType.Auto,))

@operator
class Rows(LinearOperator):
    matrix: jax.Array
    domain = property(lambda self: jax.ShapeDtypeStruct(self.matrix.shape[1:], self.matrix.dtype))
    range = property(lambda self: jax.ShapeDtypeStruct(self.matrix.shape[:1], self.matrix.dtype))
    def forward(self, x):
        return self.matrix @ x
    def adjoint(self, y):
        return jax.lax.psum(self.matrix.T @ y, "part")

@operator
class Whole(LinearOperator):
    matrix: jax.Array
    domain = property(lambda self: jax.ShapeDtypeStruct(self.matrix.shape[1:], self.matrix.dtype))
    range = property(lambda self: jax.ShapeDtypeStruct(self.matrix.shape[:1], self.matrix.dtype))
    def forward(self, x):
        return self.matrix @ x
    def adjoint(self, y):
        return self.matrix.T @ y

keys = jax.random.split(jax.random.key(0), 2)
M, y = jnp.abs(jax.random.normal(keys[0], (8, 5))), 1 + jax.random.uniform(keys[1], (8,))
sparse = lambda A, y: Problem(((F.LeastSquares(y), A), (F.L1(1.0), identity(A.domain))))
variation = lambda A, y: Problem((*sparse(A, y).terms, (F.L21(0.5), gradient(A.domain))))
ridge = lambda A, y: Problem(((F.LeastSquares(y), A), (F.SquaredL2(0.5), identity(A.domain))))
counts = lambda A, y: Problem(((F.Poisson(y, 0.1), A), (F.non_negative(), identity(A.domain))))
CASES = [
    (S.ProximalGradient(), sparse), (S.FISTA(), sparse), (S.POGM(), sparse),
    (S.FISTA(line_search=S.Backtracking()), counts), (S.BarzilaiBorwein(), sparse),
    (S.LBFGS(), ridge), (S.LevenbergMarquardt(), ridge),
    (S.ConjugateGradient(), ridge), (S.CGLS(), ridge), (S.LSQR(), ridge),
    (S.ADMM(), sparse), (S.ADMM(), counts), (S.LinearisedADMM(), variation), (S.HQS(), sparse),
    (S.DouglasRachford(), sparse), (S.PDHG(), sparse), (S.PDHG(), counts),
    (S.CondatVu(), variation),
    (S.MLEM(), counts), (S.SIRT(), lambda A, y: Problem(((F.LeastSquares(y), A),))),
]
failed = []
for algorithm, build in CASES:
    name = type(algorithm).__name__ + " " + build.__code__.co_names[0]
    def go(A, y):
        result = run(algorithm, build(A, y), n_iter=12, record=lambda problem, x: problem(x))
        return result.value, result.record
    split = jax.shard_map(lambda M, y: go(Rows(M), y), mesh=mesh,
                          in_specs=(P("part"), P("part")), out_specs=P())
    try:
        (got, path), (want, expected) = jax.jit(split)(M, y), go(Whole(M), y)
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(path, expected, rtol=1e-6)
    except Exception as error:
        failed.append(f"{name}: {type(error).__name__} {str(error)[:600]}")
# One problem on each device: nothing is shared, and sums must not be.
for algorithm, build in ((S.CGLS(), ridge), (S.ADMM(), sparse), (S.PDHG(), counts)):
    go = lambda c: run(algorithm, build(Whole(M), c * y), n_iter=12).value
    each = jax.shard_map(lambda c: go(c[0])[None], mesh=mesh, in_specs=P("part"),
                         out_specs=P("part"))
    np.testing.assert_allclose(jax.jit(each)(jnp.arange(1.0, 3))[1], go(2.0), rtol=1e-6, atol=1e-8)
# A batch on each device.
go = lambda c: run(S.FISTA(line_search=S.Backtracking()), sparse(Whole(M), c * y), n_iter=12).value
scales = jnp.arange(1.0, 5)
each = jax.shard_map(jax.vmap(go), mesh=mesh, in_specs=P("part"), out_specs=P("part"))
np.testing.assert_allclose(jax.jit(each)(scales), jax.vmap(go)(scales), rtol=1e-6, atol=1e-8)
assert not failed, chr(10).join(failed)
"""


def test_measurements_split_over_devices():
    run_on_devices(PROGRAM, 2)
