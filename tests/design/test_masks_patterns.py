"""Patterns: budgets for every key, calibration, gradients, bad input; masks inside operators."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrecon.core import identity
from jaxrecon.design import masks
from jaxrecon.design._optimise import optimise
from jaxrecon.physics import mri, optics
from jaxrecon.solvers import cg

pytestmark = pytest.mark.usefixtures("quick")
KEYS = jax.random.split(jax.random.key(5), 64)
CENTRE_1D, CENTRE_2D = slice(6, 10), (slice(3, 6), slice(3, 5))


def uneven(*shape):
    return 0.05 + jax.random.uniform(jax.random.key(1), shape)


PATTERNS = {
    "lines": (masks.lines(16, 6, calibration=4, start=uneven(16)), (1, 16), 6),
    "frames": (masks.lines(16, 6, calibration=4, n_frames=3, start=uneven(3, 16)), (3, 1, 16), 6),
    "points": (masks.points((9, 8), 20, calibration=(3, 2), start=uneven(9, 8)), (9, 8), 20),
    "power": (masks.power_law((9, 8), 20, calibration=(3, 2), power=5.0), (9, 8), 20),
    "full": (masks.lines(16, 16, axis=-2), (16, 1), 16),
    "only calibration": (masks.lines(16, 4, calibration=4), (1, 16), 4),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_every_mask_meets_its_budget(name):
    """All draws, also under vmap; per frame where there are frames; float32 as users have it."""
    pattern, shape, budget = PATTERNS[name]
    axes = tuple(range(-2 if len(shape) > 1 else -1, 0))
    drawn = jax.jit(jax.vmap(lambda k: (pattern.sample(k), pattern.gumbel(k, 0.3))))(KEYS)
    for mask in (*drawn, pattern.most_probable()[None]):
        assert mask.shape[1:] == shape
        assert set(np.unique(mask)) <= {0, 1}
        assert (np.asarray(mask, int).sum(axes) == budget).all()
    soft = jax.jit(jax.vmap(lambda k: pattern.relaxed(k, 0.5)))(KEYS)
    for mask in (soft, pattern.probabilities()[None]):
        np.testing.assert_allclose(mask.sum(axes), budget, rtol=1e-5)
    if name in ("lines", "frames"):
        assert all((m[..., CENTRE_1D] == 1).all() for m in (*drawn, soft))
    if name in ("points", "power"):
        assert all((m[:, *CENTRE_2D] == 1).all() for m in (*drawn, soft))


@pytest.mark.parametrize("name", ["frames", "power"])
def test_samples_have_the_probabilities(name):
    pattern, _, _ = PATTERNS[name]
    keys = jax.random.split(jax.random.key(6), 4000)
    mean = jax.jit(lambda k: jnp.mean(jax.vmap(pattern.sample)(k).astype(float), 0))(keys)
    p = pattern.probabilities()
    assert (jnp.abs(mean - p) <= 5 * jnp.sqrt(p * (1 - p) / 4000) + 1e-6).all()


def test_projecting_logits_keeps_probabilities():
    pattern, _, _ = PATTERNS["lines"]
    shifted = masks.Selection(pattern.logits + 3.0, pattern.fixed, 6, (1, 16))
    np.testing.assert_allclose(shifted.probabilities(), pattern.probabilities(), atol=1e-5)
    np.testing.assert_allclose(masks.project(shifted).logits, pattern.logits, atol=1e-3)


def test_the_start_is_kept_where_it_meets_the_budget():
    start = masks.power_law((1, 16), 6, power=2.0).probabilities()
    np.testing.assert_allclose(masks.lines(16, 6, start=start[0]).probabilities(), start, atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda t: masks.power_law((1, 16), 6, power=t, calibration=2),
        lambda t: masks.power_law((9, 8), 20, power=2.0, centre=t / 9),
        lambda t: masks.gaussian((9, 8), 20, width=t / 4),
        lambda t: masks.gaussian((1, 16), 6, centre=t / 9),
    ],
)
def test_families_are_differentiable_in_their_parameters(x64, build):
    def value(t):
        p = build(t).probabilities()
        return jnp.sum(jnp.cos(jnp.arange(p.size)) * p.reshape(-1))

    t, h = 1.7, 1e-6
    difference = (value(t + h) - value(t - h)) / (2 * h)
    assert float(jax.grad(value)(t)) == pytest.approx(float(difference), rel=1e-5)


def test_straight_through_is_without_bias_for_linear_criteria():
    """E over keys of the gradient equals the gradient of the expectation, c · p."""
    c = jnp.cos(jnp.arange(16.0))
    pattern, _, _ = PATTERNS["lines"]
    loss = lambda p, key: jnp.sum(c * p.straight_through(key)[0])  # noqa: E731
    slopes = jax.vmap(jax.grad(loss, allow_int=True), (None, 0))(pattern, KEYS).logits
    exact = jax.grad(lambda p: jnp.sum(c * p.probabilities()[0]), allow_int=True)(pattern).logits
    np.testing.assert_allclose(slopes, jnp.broadcast_to(exact, slopes.shape), atol=1e-6)
    assert float(jnp.abs(exact).max()) > 0.05


def test_the_gradient_of_gumbel_masks_is_that_of_relaxed_ones(key):
    pattern, _, _ = PATTERNS["lines"]
    c = jnp.cos(jnp.arange(16.0))
    slopes = [
        jax.grad(lambda p, f=f: jnp.sum(c * f(p, key, 0.5)), allow_int=True)(pattern).logits
        for f in (masks.MaskPattern.gumbel, masks.MaskPattern.relaxed)
    ]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-6)


# ---------------------------------------------------------------------------- weights and dose


def test_doses_keep_their_sum_through_a_design():
    """Every step of an optimiser that pulls elsewhere."""
    least = jnp.where(jnp.arange(12) == 3, 0.5, 0.0)
    pattern = masks.dose(12, 5.0, least=least, most=1.5)
    target = jnp.arange(12.0)
    loss = lambda p, key, step: jnp.sum((p.weights() - target) ** 2)  # noqa: E731
    pull = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))
    options = {"n_steps": 30, "key": jax.random.key(0), "optimiser": pull}
    design = optimise(loss, pattern, project=masks.project, record=lambda p: p.values, **options)
    np.testing.assert_allclose(design.record.sum(1), 5.0, rtol=1e-6)
    assert float(design.record.min()) >= 0
    assert float(design.record.max()) <= 1.5
    assert (design.record[:, 3] >= 0.5).all()
    np.testing.assert_allclose(design.value.values[-2:], 1.5)
    assert float(design.value.total) == 5.0  # weight decay did not touch the bounds


def test_keeping_the_largest_shares_the_total_among_them():
    pattern = masks.dose(6, 3.0, most=2.0)
    pattern = type(pattern)(jnp.array([0.1, 0.9, 0.2, 0.8, 0.4, 0.6]), pattern.bounds, (6,))
    kept = pattern.keep_largest(2)
    np.testing.assert_allclose(
        kept.weights(), [0, 3 * 0.9 / 1.7, 0, 3 * 0.8 / 1.7, 0, 0], rtol=1e-6
    )
    moved = type(kept)(jnp.ones(6), kept.bounds, (6,)).project()
    np.testing.assert_allclose(moved.weights(), [0, 1.5, 0, 1.5, 0, 0], rtol=1e-6)


def test_the_gap_bounds_what_is_left():
    """A quadratic on the simplex whose optimum is known by projection."""
    target = jnp.array([0.9, -0.4, 0.3, 0.6])
    pattern, loss = masks.dose(4, 1.0, most=0.8), lambda w: jnp.sum((w - target) ** 2)
    best = type(pattern)(target, pattern.bounds, (4,)).project()
    left = loss(pattern.weights()) - loss(best.weights())
    assert float(pattern.gap(jax.grad(loss)(pattern.weights()))) >= float(left) > 0.1
    assert float(best.gap(jax.grad(loss)(best.weights()))) == pytest.approx(0, abs=1e-6)


def test_a_mask_of_weights_keeps_its_calibration():
    pattern = masks.mask_weights((8, 6), 12, calibration=2)
    moved = type(pattern)(-pattern.values, pattern.bounds, pattern.shape).project()
    assert moved.weights().shape == (8, 6)
    np.testing.assert_allclose(moved.weights()[3:5, 2:4], 1.0, atol=1e-6)
    np.testing.assert_allclose(moved.weights().sum(), 12, rtol=1e-6)


def test_free_patterns_stay_in_the_modulators_range():
    hadamard = optics.walsh_hadamard
    start = jnp.stack([hadamard(jnp.eye(16)[i]).reshape(4, 4) for i in range(5)])
    patterns = masks.free_patterns(start)
    np.testing.assert_allclose(patterns.values, start)  # they are at its ends everywhere
    x = jax.random.normal(jax.random.key(2), (4, 4))
    A = patterns.operator()
    np.testing.assert_allclose(A(x), optics.single_pixel(x, 5, "natural")(x), atol=1e-6)
    np.testing.assert_allclose(A.H(A(x)), jnp.einsum("myx,m->yx", start, A(x)), atol=1e-6)
    far = masks.FreePatterns(start * 3).project()
    np.testing.assert_allclose(far.values, start, atol=1e-6)


def test_rows_are_an_order_for_the_single_pixel_camera():
    pattern = masks.rows(16, 5, start=jnp.where(jnp.arange(16) > 11, 1.0, 1e-3))
    assert sorted(pattern.positions().tolist()) == [0, 12, 13, 14, 15]
    A = optics.single_pixel(jnp.zeros((4, 4)), 5, pattern.positions())
    assert A.range.shape == (5,)


# ------------------------------------------------------------------------------- in an operator


def test_gradients_in_a_real_mask_are_exact(x64):
    """The error of CG-SENSE in the weights of every line, against finite differences."""
    shape, key = (6, 8), jax.random.key(3)
    coils = mri.normalise_maps(mri.birdcage_maps(3, shape)).astype(complex)
    image = jax.random.normal(key, shape) + 1j * jax.random.normal(jax.random.key(4), shape)

    @jax.jit
    def error(mask):
        A = mri.sense(coils, mask)
        normal = A.gram + 0.05 * identity(A.domain)
        estimate = cg(normal, A.H(mri.sense(coils, mask)(image) + 0.1), n_iter=300, tol=1e-13).value
        return jnp.sum(jnp.abs(estimate - image) ** 2)

    mask = jnp.asarray(np.random.default_rng(1).uniform(0.2, 1, (1, 8)))
    slope = jax.grad(error)(mask)
    h = 1e-5
    units = h * jnp.eye(8)[:, None]
    differences = [(error(mask + e) - error(mask - e)) / (2 * h) for e in units]
    np.testing.assert_allclose(slope[0], differences, rtol=1e-6)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: masks.lines(16, 17), "`budget` is 17, but the grid has 16"),
        (lambda: masks.lines(16, 0), "`budget` is 0"),
        (lambda: masks.lines(16, 4, calibration=5), "`calibration` alone takes 5"),
        (lambda: masks.lines(16, 4, calibration=0), "`calibration` is 0, an empty region"),
        (lambda: masks.points((8, 8), 9, calibration=(4, 0)), "an empty region"),
        (lambda: masks.points((8, 8), 60, calibration=(4, 9)), "k-space has only"),
        (lambda: masks.lines(16, 4, axis=2), "`axis` is 2"),
        (lambda: masks.lines(16, 4, n_frames=0), "`n_frames` is 0"),
        (lambda: masks.lines(16, 4, start=jnp.ones(5)), "`start` has shape"),
        (lambda: masks.points((8, 8), 9, start=jnp.ones(64)), "`start` has shape"),
        (lambda: masks.rows(16, 4, fixed=(16,)), "`fixed` is"),
        (lambda: masks.rows(16, 1, fixed=(0, 3)), "`fixed` alone takes 2"),
        (lambda: masks.power_law((1, 16), 4, power=-1.0), "`power` is -1"),
        (lambda: masks.gaussian((1, 16), 4, width=0.0), "`width` is 0"),
        (lambda: masks.dose(8, 4.0, most=0.1), "`total` is 4"),
        (lambda: masks.dose(8, 4.0, least=1.0), "`least` takes 8"),
        (lambda: masks.dose(8, 4.0, least=-1.0), "`least` exceeds"),
        (lambda: masks.dose(0, 4.0), "`n_views` is 0"),
        (lambda: masks.dose(4, 1.0).keep_largest(5), "`k` is 5"),
        (lambda: masks.free_patterns(jnp.ones((4, 4))), "`values` has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_patterns_are_traced_once():
    """New parameters are new data: nothing compiles again."""
    traces = []

    @jax.jit
    def draw(pattern, key):
        traces.append(1)
        return pattern.sample(key)

    for power in (1.0, 3.0):
        draw(masks.power_law((9, 8), 20, power=power), KEYS[0])
    assert len(traces) == 1
