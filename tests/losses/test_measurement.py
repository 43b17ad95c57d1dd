"""Groups of transformations, equivariant and multi-operator imaging."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.core import identity
from jaxrecon.physics import mri
from jaxrecon.training import losses
from tests.losses.toys import mix

KEY = jax.random.key(8)
SQUARE = (4, 4)
GROUPS = {
    "shifts": losses.Shifts(),
    "flips": losses.Flips(),
    "turns": losses.QuarterTurns(),
    "all": losses.Product((losses.Flips(), losses.QuarterTurns(), losses.Shifts())),
}


def image(shape=SQUARE):
    return jax.random.normal(KEY, shape, complex)


@pytest.mark.parametrize(("name", "size"), [("shifts", 16), ("flips", 4), ("turns", 4)])
def test_every_element_of_a_group_is_drawn_alike(name, size, x64):
    group, x = GROUPS[name], image()
    draws = np.asarray(jax.jit(jax.vmap(lambda k: group(k, x)))(jax.random.split(KEY, 1600)))
    _, counts = np.unique(draws.reshape(len(draws), -1), axis=0, return_counts=True)
    assert len(counts) == size
    assert np.all(np.abs(counts - 1600 / size) < 4.5 * np.sqrt(1600 / size))
    # Pixels move, none is lost.
    moved = np.sort(np.real(draws).reshape(1600, -1))
    np.testing.assert_allclose(moved, np.broadcast_to(np.sort(x.real.ravel()), moved.shape))


def test_short_shifts_stay_short_in_both_directions():
    group = losses.Shifts(0.2)
    draws = jax.vmap(lambda k: group.draw(k, (5, 10)))(jax.random.split(KEY, 300))
    assert [set(np.unique(d)) for d in np.asarray(draws).T] == [{-1, 0, 1}, {-2, -1, 0, 1, 2}]
    odd = jax.vmap(lambda k: losses.Shifts().draw(k, (5, 3)))(jax.random.split(KEY, 300))
    assert set(np.unique(odd[:, 0])) == {-2, -1, 0, 1, 2}


def test_rotations_agree_with_quarter_turns_and_an_analytic_object(x64):
    x = image((5, 5))
    turn = losses.Rotations()
    # From x (columns) towards y (rows, downwards): clockwise as printed.
    np.testing.assert_allclose(turn.apply(jnp.asarray(jnp.pi / 2), x), jnp.rot90(x, -1), atol=1e-12)
    np.testing.assert_allclose(turn.apply(jnp.asarray(0.0), x), x, atol=1e-12)
    row, column = np.meshgrid(np.arange(41) - 20, np.arange(41) - 20, indexing="ij")
    blob = lambda y, u: np.exp(-((y - 3) ** 2 + (u - 8) ** 2) / 18)  # noqa: E731
    cos, sin = np.cos(0.7), np.sin(0.7)
    expected = blob(cos * row - sin * column, cos * column + sin * row)
    got = turn.apply(jnp.asarray(0.7), jnp.asarray(blob(row, column)))
    # Linear interpolation errs by at most ⅛ (|f_yy| + |f_xx|) = ⅛ (1/9 + 1/9).
    assert float(jnp.max(jnp.abs(got - expected))) < 0.028
    peak = np.unravel_index(np.argmax(got), got.shape)
    assert abs(peak[0] - 20 - (3 * cos + 8 * sin)) < 0.8
    draws = jax.vmap(lambda k: losses.Rotations(0.3).draw(k, SQUARE))(jax.random.split(KEY, 99))
    assert float(jnp.max(jnp.abs(draws))) <= 0.3


def test_leading_axes_move_alike(x64):
    x = image((3, 4, 4))
    for group in (losses.Flips(), losses.Rotations()):
        element = group.draw(KEY, x.shape)
        each = jnp.stack([group.apply(element, part) for part in x])
        np.testing.assert_allclose(group.apply(element, x), each, atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="square"):
        losses.QuarterTurns()(KEY, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="an image"):
        losses.Flips()(KEY, jnp.ones(3))


def sampled(shape=SQUARE):
    return mri.cartesian(jnp.arange(16).reshape(shape) % 3 > 0, dtype=complex)


def adjoint(A, y):
    return A.H(y)


@pytest.mark.parametrize("name", GROUPS)
def test_an_exact_inverse_has_no_loss_and_a_blind_one_does(name, x64):
    loss = losses.equivariant_imaging(GROUPS[name], weight=3.0)
    full = mri.cartesian(jnp.ones((1, 1), bool), SQUARE, dtype=complex)
    x = image()
    value, parts = loss(adjoint, {"y": full(x), "A": full}, KEY)
    assert float(value) < 1e-24
    # The zero-filled image is consistent with the data; only the second term sees what it lacks.
    A = sampled()
    keys = jax.random.split(KEY, 6)
    values, parts = jax.jit(jax.vmap(lambda k: loss(adjoint, {"y": A(x), "A": A}, k)))(keys)
    assert float(jnp.max(parts["consistency"])) < 1e-24
    if name == "shifts":  # A masked Fourier transform commutes with shifts: nothing to learn.
        assert float(jnp.max(values)) < 1e-24
    else:
        assert float(jnp.max(values)) > 1e-2
        np.testing.assert_allclose(values, 3 * parts["invariance"], atol=1e-12)


def test_equivariant_imaging_follows_its_definition(x64):
    A, weights = sampled(), jnp.array([0.8, 0.3, 0.2])
    y = A(image())
    net = lambda A, y: mix(weights, A.H(y))  # noqa: E731
    group = losses.QuarterTurns()
    value, _ = losses.equivariant_imaging(group, weight=0.7)(net, {"y": y, "A": A}, KEY)
    key_turn = jax.random.split(KEY, 4)[1]
    x1 = net(A, y)
    x2 = group(key_turn, x1)
    expected = losses.l2(A(x1), y) + 0.7 * losses.l2(net(A, A(x2)), x2)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_a_detached_target_changes_the_gradient_only(x64):
    A, y = sampled(), sampled()(image())

    @functools.partial(jax.jit, static_argnums=1)
    def value(weights, detached):
        loss = losses.equivariant_imaging(losses.QuarterTurns(), detached=detached)
        net = lambda A, y: mix(weights, A.H(y))  # noqa: E731
        return loss(net, {"y": y, "A": A}, KEY)[0]

    weights = jnp.array([0.8, 0.3, 0.2])
    np.testing.assert_allclose(value(weights, True), value(weights, False))
    slopes = [jax.grad(value)(weights, detached) for detached in (True, False)]
    assert float(jnp.max(jnp.abs(slopes[0] - slopes[1]))) > 1e-3


def test_robust_equivariant_imaging_has_a_risk_for_its_fidelity_and_noise_again(x64):
    A, y = sampled(), sampled()(image())
    noise = losses.GaussianNoise(0.3)
    loss = losses.equivariant_imaging(losses.Flips(), fidelity=losses.SURE(0.3), noise=noise)
    value, parts = loss(adjoint, {"y": y, "A": A}, KEY)
    keys = jax.random.split(KEY, 4)
    risk, _ = losses.SURE(0.3)(adjoint, {"y": y, "A": A}, keys[0])
    x2 = losses.Flips()(keys[1], A.H(y))
    again = losses.l2(A.H(noise.sample(keys[3], A, A(x2))), x2)
    np.testing.assert_allclose(value, risk + again, rtol=1e-9)
    assert {"misfit", "divergence", "invariance"} == set(parts)


def test_multi_operator_imaging_sees_what_one_scan_does_not(x64):
    x = image()
    masks = jnp.stack([jnp.arange(16).reshape(SQUARE) % 3 != i for i in range(3)])
    scans = jax.vmap(lambda mask: mri.cartesian(mask, dtype=complex))(masks)
    A = jax.tree.map(lambda leaf: leaf[0], scans)
    batch = {"y": A(x), "A": A, "operators": scans}
    loss = losses.multi_operator_imaging()
    keys = jax.random.split(KEY, 12)
    each = jax.jit(jax.vmap(lambda k: loss(adjoint, batch, k)[1]["invariance"]))(keys)
    # Through the same scan the zero-filled image comes back, through another one it does not.
    seen = [
        float(losses.l2(B.H(B(A.H(A(x)))), A.H(A(x)))) for B in (_at(scans, i) for i in range(3))
    ]
    assert seen[0] < 1e-24
    assert min(seen[1:]) > 1e-2
    assert set(np.round(np.asarray(each), 9)) == set(np.round(seen, 9))
    # A network that knows the image has no loss with any scan.
    assert float(loss(lambda A, y: x, batch, KEY)[0]) < 1e-24
    drawn = losses.multi_operator_imaging(
        lambda key, A: core.replace(A, outer=core.replace(A.outer, weights=masks[1]))
    )
    np.testing.assert_allclose(drawn(adjoint, batch, KEY)[1]["invariance"], seen[1], rtol=1e-9)
    with pytest.raises(ValueError, match="operators"):
        loss(adjoint, {"y": A(x), "A": A}, KEY)


def test_moving_the_image_too_is_mo_ei(x64):
    x = image()
    loss = losses.multi_operator_imaging(lambda key, A: A, transform=losses.QuarterTurns())
    single = losses.equivariant_imaging(losses.QuarterTurns())
    batch = {"y": sampled()(x), "A": sampled()}
    np.testing.assert_allclose(loss(adjoint, batch, KEY)[0], single(adjoint, batch, KEY)[0])


def _at(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def test_consistency_of_an_identity(x64):
    y = image()
    loss = losses.MeasurementConsistency(losses.l1)
    np.testing.assert_allclose(loss(lambda A, y: y + 2, {"y": y, "A": identity(y)}, KEY)[0], 2.0)
