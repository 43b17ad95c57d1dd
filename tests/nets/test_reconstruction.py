"""Every reconstruction network: its derivative, its units, its size, and that it learns.

To add one, add a line to `NETWORKS`: a factory from random numbers, the kind of scan it is for, and
its number of parameters, worked out by hand.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.core import replace, tree
from jaxrecon.nets import reconstruction as R
from jaxrecon.physics import ct, mri
from jaxrecon.solvers import ADMM, HQS, GradientDescent, ProximalGradient, linear

KEY = jax.random.key(5)
SHAPE = (6, 5)
SMALL = 3 * 3 * 2 * 4 + 4 + 3 * 3 * 4 * 2 + 2  # a network of two channels, four between
QUICK = {"unroll": 1, "remat": False}  # to compile
REAL = 3 * 3 * 4 + 4 + 3 * 3 * 4 + 1


def complex_net(rngs, **options):
    return R.ConvNet(2, 2, widths=(4,), rngs=rngs, **options)


def real_net(rngs, **options):
    return R.ConvNet(1, 1, widths=(4,), rngs=rngs, **options)


def complex_residual(rngs):
    return complex_net(rngs, residual=True)


def real_residual(rngs):
    return real_net(rngs, residual=True)


def _two(make, rngs):
    return R.stacked(make, 2, rngs=rngs)


def _proximal(algorithm, make, **options):
    """Two iterations with networks of their own."""
    return lambda rngs: R.Unrolled(algorithm, _two(make, rngs), n_iter=2, shared=False, **options)


def _gradient(rngs):
    prior = R.stacked(lambda rngs: R.GradientNetwork(complex_net(rngs)), 2, rngs=rngs)
    options = {"n_iter": 2, "shared": False, "inputs": {"step": 0.9}}
    return R.Unrolled(GradientDescent(1.0), prior, **options)


def _learned_linear(rngs):
    A, _ = scan("ct")
    images = jax.random.normal(KEY, (20, *SHAPE))
    estimate = linear.linear_mmse(images, jax.vmap(A)(images), 0.1)
    return R.PostProcessing(R.FromMeasurements(estimate), real_residual(rngs))


def _both_domains(rngs):
    return R.PostProcessing(
        R.FilteredBackprojection("hann"), real_residual(rngs), data_network=real_residual(rngs)
    )


def _tikhonov(rngs):
    return R.PostProcessing(R.Tikhonov(R.Positive(0.1), tol=1e-13), complex_residual(rngs))


def _modl(rngs, make, n_iter, penalty):
    layer = R.ProximalConsistency(penalty, tol=1e-13)
    return R.Unrolled(R.Alternating(make(rngs), layer), n_iter=n_iter, **QUICK)


def _equilibrium(rngs):
    net = _modl(rngs, complex_net, 1, 0.5)
    return R.Equilibrium(net, n_iter=60, tol=1e-12, memory=3)


def _filters(rngs):
    sizes = {"n_filters": 3, "kernel": 3, "n_nodes": 5}
    return R.variational_network(
        n_iter=2, **QUICK, rngs=rngs, sizes={**sizes, "complex_values": True}
    )


NETWORKS = {
    "PGD": (
        _proximal(ProximalGradient(1.0), real_residual, inputs={"step": 1.0}),
        "ct",
        2 * REAL + 2,
    ),
    "gradient network": (_gradient, "mri", 2 * SMALL + 2),
    "ADMM": (_proximal(ADMM(), complex_residual, inputs={"penalty": 0.3}), "mri", 2 * SMALL + 2),
    "HQS": (_proximal(HQS(), complex_residual, inputs={"penalty": 0.3}), "fft", 2 * SMALL + 2),
    "learned primal-dual": (
        lambda rngs: R.learned_primal_dual(
            n_iter=2, n_images=2, n_data=1, width=4, **QUICK, rngs=rngs
        ),
        "ct",
        2 * (9 * (3 * 4 + 16 + 4 * 1 + 3 * 4 + 16 + 4 * 2) + 16 + 1 + 2 + 4),
    ),
    "recurrent inference": (
        lambda rngs: R.recurrent_inference(
            n_iter=2, width=4, complex_values=True, **QUICK, rngs=rngs
        ),
        "mri",
        25 * 16 + 4 + 9 * 16 + 4 + 9 * 8 + 2 * 3 * 4 * 9,
    ),
    "variational": (_filters, "mri", 2 * (3 * (18 + 5) + 1)),
    "end to end": (
        lambda rngs: R.end_to_end_varnet(
            _two(complex_net, rngs), complex_net(rngs), centre=(None, 3), n_iter=2, **QUICK
        ),
        "mri",
        3 * SMALL + 2,
    ),
    "MoDL": (lambda rngs: _modl(rngs, complex_residual, 2, 0.05), "mri", SMALL + 1),
    "cascade": (
        lambda rngs: R.cascade(_two(complex_residual, rngs), n_iter=2, **QUICK),
        "fft",
        2 * SMALL,
    ),
    "KIKI": (
        lambda rngs: R.kiki(_two(complex_net, rngs), _two(complex_net, rngs)),
        "mri",
        4 * SMALL,
    ),
    "equilibrium": (_equilibrium, "mri", SMALL + 1),
    "both domains": (_both_domains, "ct", 2 * REAL),
    "Tikhonov": (_tikhonov, "mri", SMALL + 1),
    "learned linear": (_learned_linear, "ct", REAL),
    "AUTOMAP": (
        lambda rngs: R.automap(scan("fft")[0], hidden=8, width=3, rngs=rngs),
        "fft",
        61 * 8 + 9 * 60 + 25 * 2 * 3 + 3 + 25 * 9 + 3 + 49 * 3 * 2 + 2,
    ),
}


def scan(kind):
    """A forward model and what its images are."""
    if kind == "ct":
        angles = jnp.linspace(0.1, 3.0, 3, dtype=float)
        return ct.parallel_beam(
            angles, SHAPE, 8, pixel=20.0, bin_pitch=20.0, method="fourier", backend="dft"
        ), float
    mask = jnp.array([[True, False, True, True, True]])
    if kind == "fft":
        return mri.cartesian(mask, SHAPE, dtype=complex), complex
    return mri.sense(mri.normalise_maps(mri.birdcage_maps(2, SHAPE).astype(complex)), mask), complex


def images(dtype):
    """Two smooth images."""
    x = jax.random.normal(KEY, (2, *SHAPE), dtype)
    return (x + jnp.roll(x, 1, 1) + jnp.roll(x, 1, 2) + jnp.roll(x, 2, 2)) / 100


@jax.jit
def judged(params, rest, graphdef, A, y, x):
    """Mean squared error and the images; with its gradient in parameters, data and coil maps."""

    def loss(params, y, maps):
        net = nnx.merge(graphdef, params, rest)
        scan = A if maps is None else replace(A, maps=maps)
        got = jax.vmap(net, (None, 0))(scan, y)
        return tree.sum_of_squares(got - x) / tree.sum_of_squares(x), got

    # The derivative in CT poses compiles for seconds, and is tested with the operators.
    maps = getattr(A, "maps", None)
    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, y, maps)


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name, x64):
    make, kind, n_parameters = NETWORKS[name]
    A, dtype = scan(kind)
    graphdef, params, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)
    params = jax.tree.map(lambda leaf: leaf.astype(float), params)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    assert sum(sizes) == n_parameters

    x = images(dtype)
    y = jax.vmap(A)(x)

    def f(params, y, maps):
        return judged(
            params, rest, graphdef, A if maps is None else replace(A, maps=jnp.asarray(maps)), y, x
        )

    point = params, y, getattr(A, "maps", None)
    (_, got), gradient = f(*point)
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    check_derivative(f, point, gradient)

    # Brighter measurements make a brighter image, and nothing else.
    if name != "learned linear":
        (_, brighter), _ = f(params, 7 * y, point[2])
        np.testing.assert_allclose(
            brighter, 7 * got, rtol=0, atol=1e-9 * float(jnp.max(jnp.abs(got)))
        )

    losses = descend(lambda params: f(params, *point[1:]), params)
    assert losses[-1] < 0.9 * losses[0]


def check_derivative(f, arguments, gradient):
    """A random direction in each argument, against a central difference."""
    rng = np.random.default_rng(0)
    for i, argument in enumerate(arguments):
        leaves, structure = jax.tree.flatten(argument)
        leaves = [np.asarray(leaf) for leaf in leaves]
        draws = [rng.standard_normal((*v.shape, 2)).view(complex)[..., 0] for v in leaves]
        draws = [
            d if np.iscomplexobj(v) else np.real(d) for d, v in zip(draws, leaves, strict=True)
        ]
        moves = [max(np.abs(v).max(), 1e-2) * d for d, v in zip(draws, leaves, strict=True)]

        def along(step, i=i, leaves=leaves, moves=moves, structure=structure):
            moved = [v + step * d for v, d in zip(leaves, moves, strict=True)]
            changed = jax.tree.unflatten(structure, moved)
            return float(f(*arguments[:i], changed, *arguments[i + 1 :])[0][0])

        slopes = [np.asarray(g) for g in jax.tree.leaves(gradient[i])]
        exact = sum(float(np.vdot(np.conj(g), d).real) for g, d in zip(slopes, moves, strict=True))
        numeric = (along(1e-6) - along(-1e-6)) / 2e-6
        assert abs(exact - numeric) <= 1e-6 * max(abs(numeric), 1e-2), (i, exact, numeric)


def descend(f, params, n_steps=20):
    """Losses of Adam, in NumPy: nothing to compile."""
    leaves, structure = jax.tree.flatten(params)
    point = [np.asarray(leaf) for leaf in leaves]
    mean, square, losses = [0.0] * len(point), [0.0] * len(point), []
    for k in range(1, n_steps + 1):
        (loss, _), (gradient, _, _) = f(jax.tree.unflatten(structure, point))
        slopes = [np.asarray(g) for g in jax.tree.leaves(gradient)]
        mean = [0.9 * m + 0.1 * g for m, g in zip(mean, slopes, strict=True)]
        square = [0.99 * v + 0.01 * g**2 for v, g in zip(square, slopes, strict=True)]
        moves = [
            m / (1 - 0.9**k) / (np.sqrt(v / (1 - 0.99**k)) + 1e-12)
            for m, v in zip(mean, square, strict=True)
        ]
        point = [p - 0.01 * m for p, m in zip(point, moves, strict=True)]
        losses.append(float(loss))
    return losses
