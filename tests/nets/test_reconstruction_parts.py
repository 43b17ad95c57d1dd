"""The parts of reconstruction networks against dense matrices and closed forms; their sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.core import centered_ifft, diagonal, materialise, tree
from jaxrecon.nets import reconstruction as R
from jaxrecon.nets.reconstruction._alternating import cartesian_of
from jaxrecon.nets.reconstruction._variational import (
    central_window,
    filter_gradient,
    normalised_filters,
    radial_basis,
)
from jaxrecon.physics import ct, mri

KEYS = jax.random.split(jax.random.key(11), 6)
SHAPE = (4, 5)
MASK = jnp.array([[True, False, True, True, False]])


def normal(key, shape, dtype=complex):
    return jax.random.normal(key, shape, dtype)


def scans():
    maps = mri.normalise_maps(normal(KEYS[0], (2, *SHAPE)))
    return {
        "one coil": mri.cartesian(MASK, SHAPE, dtype=complex),
        "coils": mri.sense(maps, MASK),
        "scaled": 3.0 * mri.cartesian(MASK, SHAPE, dtype=complex),
    }


def net(n_channels=2, **options):
    return R.ConvNet(n_channels, n_channels, widths=(3,), rngs=nnx.Rngs(0), **options)


def nets(n):
    return R.stacked(lambda rngs: R.ConvNet(2, 2, widths=(3,), rngs=rngs), n, rngs=nnx.Rngs(0))


def zeros(module):
    return jax.tree.map(jnp.zeros_like, module)


# ------------------------------------------------------------------------------- data consistency


@pytest.mark.parametrize("name", ["one coil", "coils", "scaled"])
def test_data_consistency_is_that_of_the_matrix(name, x64):
    A = scans()[name]
    M = np.asarray(materialise(A))
    y, x = normal(KEYS[1], A.range.shape), normal(KEYS[2], SHAPE)
    v, u = np.ravel(y), np.ravel(x)
    gram, back = M.conj().T @ M, M.conj().T @ v
    soft = R.SoftConsistency(0.3, param_dtype=float)(A, y, x)
    np.testing.assert_allclose(np.ravel(soft), u - 0.3 * (gram @ u - back), rtol=1e-10)
    layer = R.ProximalConsistency(0.2, tol=1e-13, param_dtype=float)
    expected = np.linalg.solve(gram + 0.2 * np.eye(u.size), back + 0.2 * u)
    np.testing.assert_allclose(np.ravel(layer(A, y, x)), expected, rtol=1e-9)
    # The map for implicit derivatives has the same fixed point.
    again = layer.towards(layer.prepare(A, y), x, jnp.asarray(expected.reshape(SHAPE)))
    np.testing.assert_allclose(np.ravel(again), expected, rtol=1e-9)
    hard = R.HardConsistency(n_iter=50, tol=1e-13)
    expected = u + np.linalg.pinv(M, rcond=1e-10) @ (v - M @ u)
    np.testing.assert_allclose(np.ravel(hard(A, y, x)), expected, rtol=1e-7)


def test_hard_consistency_by_iteration_has_no_implicit_derivative(x64):
    A = scans()["coils"]
    layer = R.HardConsistency()
    prepared = layer.prepare(A, jnp.zeros(A.range.shape, complex))
    with pytest.raises(ValueError, match="`HardConsistency` has no closed form for Sense"):
        layer.towards(prepared, jnp.zeros(SHAPE, complex), jnp.zeros(SHAPE, complex))


def test_measured_samples_are_in_the_result(x64):
    """Networks that end with hard data consistency explain their data."""
    A = scans()["one coil"]
    y = A(normal(KEYS[1], SHAPE))
    for network in (R.cascade(nets(1), n_iter=1), R.kiki(nets(1), nets(1), n_iter=1)):
        np.testing.assert_allclose(A(network(A, y)), y, atol=1e-6)


def test_a_cartesian_scan_is_taken_apart(x64):
    for A in scans().values():
        x = normal(KEYS[1], SHAPE)
        parts = cartesian_of(A, A(x))
        sampled = parts.full(x)
        np.testing.assert_allclose(parts.measured(sampled), sampled, atol=1e-12)
        filled = parts.measured(jnp.zeros_like(sampled))
        np.testing.assert_allclose(filled, parts.data, atol=1e-12)
    with pytest.raises(ValueError, match=r"`A` is a Parallel, expected Cartesian sampling"):
        cartesian_of(ct.parallel_beam(jnp.zeros(2), SHAPE, 6), jnp.zeros((2, 6)))
    weighted = diagonal(jnp.ones((1, 4, 5)), jnp.zeros((2, *SHAPE), complex)) @ scans()["coils"]
    with pytest.raises(ValueError, match=r"`A` is a Composition"):
        cartesian_of(weighted, jnp.zeros((2, *SHAPE), complex))


# ---------------------------------------------------------------------------- variational networks


def test_activations_and_filters(x64):
    z, weights = normal(KEYS[1], (6, 2), float), normal(KEYS[2], (2, 5), float)
    centres = np.linspace(-0.8, 0.8, 5)
    gaussians = np.exp(-0.5 * ((np.asarray(z)[..., None] - centres) / 0.4) ** 2)
    got = radial_basis(z, weights, 0.8)
    np.testing.assert_allclose(got, (gaussians * np.asarray(weights)).sum(-1), rtol=1e-12)
    filters = normalised_filters(normal(KEYS[3], (3, 3, 2, 4), float))
    np.testing.assert_allclose(filters.mean((0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose((filters**2).sum((0, 1, 2)), 1)


@pytest.mark.parametrize("dtype", [float, complex])
def test_the_filter_gradient_is_a_gradient(dtype, x64):
    """Its Jacobian Kᵀ diag(φ') K is symmetric, in real and imaginary parts."""
    n_parts = 2 if dtype is complex else 1
    filters = normalised_filters(normal(KEYS[3], (3, 2, n_parts, 4), float))
    weights = normal(KEYS[2], (4, 5), float)
    x = normal(KEYS[1], SHAPE, dtype)

    def flat(v):
        image = v[:20].reshape(SHAPE)
        image = jax.lax.complex(image, v[20:].reshape(SHAPE)) if n_parts == 2 else image
        slope = filter_gradient(image, filters, weights, 1.0)
        return jnp.concatenate([p.ravel() for p in (slope.real, slope.imag)[:n_parts]])

    point = jnp.concatenate([p.ravel() for p in (x.real, x.imag)[:n_parts]])
    J = jax.jacrev(flat)(point)
    assert jnp.linalg.norm(J) > 0.1
    np.testing.assert_allclose(J, J.T, atol=1e-10)


def test_without_networks_end_to_end_is_the_sum_of_squares(x64):
    """Of full data, with the maps that the coil images are themselves."""
    maps = mri.normalise_maps(normal(KEYS[0], (3, *SHAPE)))
    A = mri.sense(maps, jnp.ones((1, 1), bool))
    y = A(normal(KEYS[1], SHAPE))
    network = R.end_to_end_varnet(zeros(nets(2)), zeros(net()), centre=(None, None), n_iter=2)
    got = jnp.abs(network(A, y))
    np.testing.assert_allclose(got, mri.rss(centered_ifft(y, (1, 2))), rtol=1e-6)


def test_coil_maps_are_of_unit_norm(x64):
    A = scans()["coils"]
    y = A(normal(KEYS[1], SHAPE))
    better = R.CoilMapNetwork(net(), (None, 3))(A, y)
    np.testing.assert_allclose(mri.rss(better.maps), 1, rtol=1e-5)
    np.testing.assert_array_equal(
        central_window((4, 5), (None, 3)), np.tile([0, 1, 1, 1, 0], (4, 1))
    )
    with pytest.raises(ValueError, match=r"`A` is a Composition, expected `mri\.sense`"):
        R.CoilMapNetwork(net(), (None, 3))(scans()["one coil"], y)


# ---------------------------------------------------------------------------------- initial images


def test_initial_images(x64):
    A = scans()["coils"]
    x, w = normal(KEYS[1], SHAPE), jnp.array([1.0, 1.0, 0.5, 2.0, 1.0])
    y = A(x)
    for matched in (R.MatchedAdjoint(), R.MatchedAdjoint(w)):
        image = matched(A, y)
        assert abs(tree.dot(A(image), A(image) - y)) < 1e-10  # the best multiple
    full = mri.sense(A.maps, jnp.ones((1, 1), bool))
    np.testing.assert_allclose(R.PseudoInverse(n_iter=50, tol=1e-12)(full, full(x)), x, atol=1e-8)
    step = R.normalise(A, y)
    ridge = R.Tikhonov(0.1, tol=1e-13)(A, y)
    M = np.asarray(materialise(step.A))
    expected = np.linalg.solve(M.conj().T @ M + 0.1 * np.eye(20), M.conj().T @ np.ravel(step.y))
    np.testing.assert_allclose(np.ravel(ridge), step.scale * expected, rtol=1e-8)
    with pytest.raises(ValueError, match="`A` is a Sense, expected a parallel or fan beam"):
        R.FilteredBackprojection()(A, y)


# ------------------------------------------------------------------------------------------- sizes


def n_parameters(make):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(nnx.eval_shape(make), nnx.Param)))


def test_published_sizes():
    rngs = lambda: nnx.Rngs(0)  # noqa: E731
    srcnn = lambda: R.ConvNet(1, 1, widths=(64, 32), kernels=(9, 1, 5), rngs=rngs())  # noqa: E731
    assert n_parameters(srcnn) == 8129
    patterns, image = jax.ShapeDtypeStruct((333,), float), jax.ShapeDtypeStruct((64, 64), float)
    assert n_parameters(lambda: R.FullyConnected(patterns, image, rngs=rngs())) == 1_368_064
    sizes = {"complex_values": True}
    assert n_parameters(lambda: R.variational_network(rngs=rngs(), sizes=sizes)) == 131_050
    assert n_parameters(lambda: R.learned_primal_dual(rngs=rngs())) == 251_980


def test_frozen_and_learned_inversions_are_one_network(x64):
    """The textbook comparison: the same network behind a frozen layer or a learned one."""
    A = scans()["one coil"]
    y = A(normal(KEYS[1], SHAPE))
    frozen = R.PostProcessing(R.PseudoInverse(), net())
    learned = R.PostProcessing(R.FullyConnected(A.range, A.domain, rngs=nnx.Rngs(0)), net())
    sizes = [n_parameters(lambda n=n: n) for n in (frozen, learned)]
    assert sizes[1] - sizes[0] == 41 * 40
    for network in (frozen, learned):
        assert network(A, y).shape == SHAPE


def test_errors_name_the_argument(x64):
    with pytest.raises(ValueError, match=r"`kernels` is \(3, 3\), expected one for each of 3"):
        R.ConvNet(1, 1, kernels=(3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`residual` needs `n_in` = `n_out`"):
        R.ConvNet(1, 2, residual=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expected the struct of an array"):
        R.FullyConnected((), scans()["coils"].domain, rngs=nnx.Rngs(0))
