"""Unrolled networks and equilibria against the solvers, a Python loop, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon import functionals as F
from jaxrecon.core import Problem, diagonal, identity, materialise, run, tree
from jaxrecon.functionals.denoisers import DenoiserPrior, ProxDenoiser
from jaxrecon.nets import reconstruction as R
from jaxrecon.physics import ct, mri
from jaxrecon.solvers import ADMM, FISTA, HQS, PDHG, DouglasRachford, ProximalGradient

KEYS = jax.random.split(jax.random.key(7), 6)
SHAPE = (6, 5)
N_ITER = 4

ALGORITHMS = {
    "pgd": (ProximalGradient(0.2), None),
    "fista": (FISTA(0.2), {"step": 0.15}),
    "admm": (ADMM(), {"penalty": 0.5}),
    "hqs": (HQS(), {"penalty": 0.5}),
    "pdhg": (PDHG(), None),
    "drs": (DouglasRachford(), None),
}


def posed():
    weights = jnp.abs(jax.random.normal(KEYS[0], SHAPE)) + 0.2
    return diagonal(weights, weights), jax.random.normal(KEYS[1], SHAPE)


def small_net(rngs, **options):
    return R.ConvNet(1, 1, widths=(3,), rngs=rngs, **options)


def in_double(net):
    """The network with parameters in double precision."""
    single = lambda v: getattr(v, "dtype", None) == jnp.float32  # noqa: E731
    return jax.tree.map(lambda v: v.astype(float) if single(v) else v, net)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_with_a_proximal_denoiser_it_is_the_solver(name, shared, x64):
    algorithm, inputs = ALGORITHMS[name]
    A, y = posed()
    prior = DenoiserPrior(ProxDenoiser(F.L1(0.3)))
    problem = Problem(((F.LeastSquares(y), A), (F.L1(0.3), identity(A.domain))))
    given = None if inputs is None else {k: jnp.full(N_ITER, v) for k, v in inputs.items()}
    expected = run(algorithm, problem, A.H(y), n_iter=N_ITER, inputs=given).value
    if not shared:
        prior = R.stacked(lambda _: prior, N_ITER, rngs=nnx.Rngs(0))
    options = {"n_iter": N_ITER, "inputs": inputs, "normalised": False, "unroll": 1}
    net = in_double(R.Unrolled(algorithm, prior, shared=shared, **options))
    np.testing.assert_allclose(net(A, y), expected, rtol=1e-6, atol=1e-7)


def test_weights_of_their_own_are_those_of_a_loop(x64):
    A, y = posed()
    prior = R.stacked(small_net, 3, rngs=nnx.Rngs(0))
    steps = jnp.array([0.3, 0.2, 0.1])
    net = R.Unrolled(ProximalGradient(1.0), prior, n_iter=3, shared=False, inputs={"step": steps})
    net = in_double(net)
    scan = R.normalise(A, y)
    x = scan.x0
    for i, step in enumerate(net.inputs["step"]()):
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], net.prior.network)
        x = layer((x - step * scan.A.H(scan.A(x) - scan.y))[..., None])[..., 0]
    np.testing.assert_allclose(net(A, y), scan.scale * x, rtol=1e-12)
    written_out = net.solve(A, y, unroll=1, remat=False).value
    np.testing.assert_allclose(written_out, scan.scale * x, rtol=1e-12)
    np.testing.assert_allclose(net.solve(A, y, gradient="none").value, scan.scale * x, rtol=1e-12)


def test_units_are_undone(x64):
    """A in other units, y in others: the image in their quotient."""
    A, y = posed()
    net = R.Unrolled(ProximalGradient(0.5), small_net(nnx.Rngs(0)), n_iter=2)
    np.testing.assert_allclose(net(50.0 * A, 3 * y), 3 / 50 * net(A, y), rtol=1e-9)
    scan = R.normalise(A, y)
    assert float(jnp.max(jnp.abs(scan.x0))) == pytest.approx(1.0)
    # The first image is the best multiple of Aᴴy: the slope along it vanishes.
    assert abs(float(tree.dot(scan.x0, scan.A.H(scan.A(scan.x0) - scan.y)))) < 1e-12
    assert jnp.all(net(A, 0 * y) == net(A, 0 * y))  # no NaN for an empty scan


def test_norms_are_about_one_whatever_is_measured(x64):
    """Also of measurements that hold little of the largest singular values."""
    A = ct.parallel_beam(jnp.linspace(0, 3, 8), (16, 16), 24)
    x = jax.random.normal(KEYS[0], (16, 16))
    for factor in (1.0, 1e6):
        unit = R.normalise(factor * A, A(x - x.mean())).A
        assert 1 <= float(jnp.linalg.norm(materialise(unit), 2)) < 1.5


def test_batches(x64):
    """vmap over measurements, and over scans with maps and masks of their own, equal loops."""
    maps = mri.normalise_maps(jax.random.normal(KEYS[4], (2, 2, *SHAPE), complex))
    masks = jax.random.bernoulli(KEYS[2], 0.7, (2, 1, SHAPE[1])).at[:, :, 2].set(True)
    A = mri.Sense(maps, masks)
    y = jax.random.normal(KEYS[3], (2, 2, *SHAPE), complex)
    net = in_double(R.modl(R.ConvNet(2, 2, widths=(3,), rngs=nnx.Rngs(0)), n_iter=2, unroll=1))
    one = jax.jit(lambda net, A, y: net(A, y))
    scans = [mri.Sense(m, k) for m, k in zip(A.maps, masks, strict=True)]
    loop = jnp.stack([one(net, a, v) for a, v in zip(scans, y, strict=True)])
    both = jax.jit(lambda net, A, y: jax.vmap(net)(A, y))(net, A, y)
    np.testing.assert_allclose(both, loop, atol=1e-5)
    shared = jax.jit(lambda net, A, y: jax.vmap(net, (None, 0))(A, y))(net, scans[0], y)
    np.testing.assert_allclose(shared[0], loop[0], atol=1e-5)
    np.testing.assert_allclose(shared[1], one(net, scans[0], y[1]), atol=1e-5)


def test_networks_may_drop_features(x64):
    """Modules that change their own state when called work inside loops, shared or not."""
    A, y = posed()

    class Dropping(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 1, (1, 1), rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return x + self.dropout(self.conv(x))

    stacked = R.stacked(Dropping, 2, rngs=nnx.Rngs(0))
    for shared, prior in ((True, Dropping(nnx.Rngs(0))), (False, stacked)):
        net = R.Unrolled(ProximalGradient(0.5), prior, n_iter=2, shared=shared)
        net.eval()
        steady = net(A, y)
        net.train()
        assert not jnp.allclose(net(A, y), steady)
        jax.jit(jax.grad(lambda net: jnp.sum(net(A, y)), allow_int=True))(net)


# ------------------------------------------------------------------------------------- equilibria


def contraction(rngs):
    """A small network of Lipschitz constant below one, with weights in the dtype of x."""
    return R.ConvNet(2, 2, widths=(3,), final_gain=0.02, rngs=rngs)


def multi_coil(dtype):
    maps = mri.normalise_maps(mri.birdcage_maps(2, SHAPE)).astype(dtype)
    mask = jnp.array([[True, False, True, True, True]])
    A = mri.sense(maps, mask)
    return A, A(jax.random.normal(KEYS[4], SHAPE, dtype))


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_implicit_gradient_is_the_unrolled_one(precision, x64):
    double = precision == "float64"
    dtype = jnp.complex128 if double else jnp.complex64
    A, y = multi_coil(dtype)
    net = R.Unrolled(ProximalGradient(R.Positive(0.7)), contraction(nnx.Rngs(0)), n_iter=1)
    net = in_double(net) if double else net
    n_iter, tol = (100, 1e-13) if double else (40, 1e-6)

    graphdef, params, rest = nnx.split(net, nnx.Param, ...)

    def implicit(params, y):
        net = R.Equilibrium(nnx.merge(graphdef, params, rest), n_iter=n_iter, tol=tol)
        return tree.sum_of_squares(net(A, y)) ** 2

    def unrolled(params, y):
        net = nnx.merge(graphdef, params, rest)
        return tree.sum_of_squares(net.solve(A, y, n_iter=n_iter, unroll=1).value) ** 2

    got = jax.jit(jax.grad(implicit, (0, 1)))(params, y)
    expected = jax.jit(jax.grad(unrolled, (0, 1)))(params, y)
    for a, b in zip(got, expected, strict=True):
        assert tree.norm(tree.sub(a, b)) < (1e-6 if double else 1e-3) * tree.norm(b)


def test_anderson_takes_fewer_iterations(x64):
    A, y = posed()
    shrink = DenoiserPrior(ProxDenoiser(F.SquaredL2(0.2)), sigma=1.0)
    net = R.Unrolled(ProximalGradient(), shrink, n_iter=1)
    options = {"n_iter": 500, "tol": 1e-10}
    fast = R.Equilibrium(net, **options).solve(A, y).check()
    slow = R.Equilibrium(net, memory=0, **options).solve(A, y).check()
    np.testing.assert_allclose(fast.value, slow.value, rtol=1e-7)
    assert fast.n_iter < 0.6 * slow.n_iter


def test_memory_of_training():
    """Temporaries of a gradient: constant for an equilibrium, growing for an unrolled network."""
    A = mri.cartesian(jnp.ones((64, 64), bool))
    y = jnp.ones((64, 64), jnp.complex64)
    net = R.Unrolled(ProximalGradient(0.5), contraction(nnx.Rngs(0)), n_iter=1)

    def temporaries(make):
        loss = lambda net: jnp.sum(jnp.abs(make(net)) ** 2)  # noqa: E731
        memory = jax.jit(jax.grad(loss)).lower(net).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    def equilibrium(n_iter):
        return temporaries(lambda net: R.Equilibrium(net, n_iter=n_iter, memory=0)(A, y))

    def unrolled(n_iter):
        options = {"n_iter": n_iter, "unroll": 1}
        return temporaries(lambda net: net.solve(A, y, **options).value)

    few, many = equilibrium(4), equilibrium(64)
    assert many < 1.02 * few
    assert unrolled(64) > 64 * y.nbytes  # an image for each iteration, at least


def test_equilibrium_of_projections(x64):
    """The operator's own derivative rule goes through the linear solve."""
    angles = jnp.linspace(0.1, 3.0, 4, dtype=float)
    A = ct.parallel_beam(angles, SHAPE, 8)
    y = A(jnp.abs(jax.random.normal(KEYS[5], SHAPE)))
    prior = in_double(R.ConvNet(1, 1, widths=(3,), final_gain=0.02, rngs=nnx.Rngs(0)))
    net = R.Equilibrium(R.Unrolled(ProximalGradient(0.7), prior, n_iter=1), tol=1e-12)
    f = jax.jit(jax.value_and_grad(lambda y: jnp.sum(net(A, y) ** 2)))
    move = jnp.sin(jnp.arange(y.size)).reshape(y.shape)
    exact = float(jnp.sum(f(y)[1] * move))
    numeric = float(f(y + 1e-5 * move)[0] - f(y - 1e-5 * move)[0]) / 2e-5
    assert exact == pytest.approx(numeric, rel=1e-6)


# ----------------------------------------------------------------------------------------- errors


def test_errors_name_the_argument():
    A = mri.cartesian(jnp.ones(SHAPE, bool))
    net = small_net(nnx.Rngs(0))
    nets = R.stacked(small_net, 2, rngs=nnx.Rngs(0))
    pgd = ProximalGradient(1.0)
    with pytest.raises(ValueError, match=r"`prior` has arrays .* expected 3 .*stacked"):
        R.Unrolled(pgd, nets, n_iter=3, shared=False)
    with pytest.raises(ValueError, match=r"`algorithm` has arrays .* expected 2"):
        R.Unrolled(R.Alternating(net, R.HardConsistency()), n_iter=2, shared=False)
    with pytest.raises(ValueError, match=r"`prior` is given beside the Alternating"):
        R.Unrolled(R.Alternating(net, R.HardConsistency()), net, n_iter=2)
    with pytest.raises(ValueError, match="`net` has weights for each iteration"):
        R.Equilibrium(R.Unrolled(pgd, nets, n_iter=2, shared=False))
    unshared = R.Unrolled(pgd, nets, n_iter=2, shared=False)
    scan, data = identity(jnp.zeros(SHAPE)), jnp.ones(SHAPE)
    loss = lambda y: jnp.sum(unshared.solve(scan, y, gradient="implicit").value)  # noqa: E731
    with pytest.raises(ValueError, match="`shared` is False: iterations that differ"):
        jax.grad(loss)(data)
    with pytest.raises(ValueError, match=r"`y` has shapes .*jax.vmap\(net, in_axes=\(None, 0\)\)"):
        R.Unrolled(pgd, net, n_iter=1)(A, jnp.ones((3, *SHAPE), jnp.complex64))
    with pytest.raises(ValueError, match="`value` is"):
        R.Positive(-1.0)
