"""The rules around the transforms: batches, chunks, passes, loops, export, gram."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxrecon import core
from jaxrecon.physics import _gather, nufft
from jaxrecon.physics.nufft import _interpolate, _plan, _transform
from tests.nufft import dft
from tests.nufft.test_mesh import BACKENDS, needs_finufft

SHAPE = (8, 9)


@functools.cache
def small(backend="xla", batch=(), eps=1e-4):
    points, image, data = dft.draws(SHAPE, 30, "float32", batch=batch)
    return nufft.nufft(points, SHAPE, batch=batch, eps=eps, backend=backend), image, data


def loss(A, x):
    return jnp.sum(jnp.abs(A(x)) ** 4)


@pytest.mark.parametrize("backend", BACKENDS)
class TestBatches:
    def test_vmap_of_gradients_and_gradients_of_vmap(self, backend):
        A, _, _ = small(backend)
        _, images, _ = dft.draws(SHAPE, 30, "float32", batch=(2, 3))
        each = jax.vmap(jax.vmap(jax.grad(lambda x: loss(A, x))))(images)
        whole = jax.grad(lambda xs: jnp.sum(jax.vmap(jax.vmap(lambda x: loss(A, x)))(xs)))(images)
        loop = jnp.stack(
            [jnp.stack([jax.grad(lambda x: loss(A, x))(x) for x in xs]) for xs in images]
        )
        assert dft.error(each, loop) < 3e-6
        assert dft.error(whole, loop) < 3e-6

    def test_vmap_over_trajectories(self, backend):
        A, image, data = small(backend)
        trajectories = jnp.stack([A.trajectory, A.trajectory[::-1] * 0.9])
        operators = [core.replace(A, trajectory=t) for t in trajectories]
        many = core.replace(A, trajectory=trajectories)  # a pytree of two operators
        in_axes = jax.tree.map(lambda _: 0, many)
        forward = jax.vmap(lambda A: A(image), in_axes=(in_axes,))(many)
        assert dft.error(forward, jnp.stack([B(image) for B in operators])) < 3e-6
        gradient = jax.vmap(jax.grad(lambda A: loss(A, image)), in_axes=(in_axes,))(many)
        loop = jnp.stack([jax.grad(loss)(B, image).trajectory for B in operators])
        assert dft.error(gradient.trajectory, loop) < 3e-6
        both = jax.vmap(lambda A, y: A.H(y), in_axes=(in_axes, 0))(
            many, jnp.stack([data, 2 * data])
        )
        assert dft.error(both, jnp.stack([operators[0].H(data), operators[1].H(2 * data)])) < 3e-6

    def test_in_scan_with_remat(self, backend):
        """Gradient steps on the trajectory inside a scan, differentiated through."""
        A, image, data = small(backend)

        def descend(rate):
            def step(points, _):
                slope = jax.grad(lambda p: jnp.sum(jnp.abs(with_points(A, p)(image) - data) ** 2))
                return points - rate * slope(points), None

            points, _ = jax.lax.scan(jax.checkpoint(step), A.trajectory, None, length=2)
            return jnp.sum(points**2)

        slope = jax.grad(descend)(1e-3)
        numeric = (descend(1.05e-3) - descend(0.95e-3)) / 1e-4
        np.testing.assert_allclose(slope, numeric, rtol=2e-2)


def with_points(A, points):
    return core.replace(A, trajectory=points)


def test_nested_batches_are_one_pass():
    """Two levels of vmap reach the kernel as one batch: as many products as for one image."""
    A, image, _ = small("dft")
    _, images, _ = dft.draws(SHAPE, 30, "float32", batch=(2, 3))
    count = [
        str(jax.make_jaxpr(f)(x)).count("dot_general")
        for f, x in ((jax.vmap(jax.vmap(A)), images), (A, image))
    ]
    assert count[0] == count[1]


class TestWaysToTheSameResult:
    def test_chunks_of_points(self, monkeypatch):
        A, image, data = small("xla", (2,))
        plan, points = A.plan, A.points
        expected = jax.vmap(lambda x: _transform.apply(plan, points, x))(image), A.H(data)
        monkeypatch.setattr(_interpolate, "POINTS", 7)
        got = _transform._type2(plan, points, image), _transform._type1(plan, points, data)
        assert dft.error(got[0], expected[0]) < 1e-6
        assert dft.error(got[1], expected[1]) < 1e-6

    def test_passes_of_coils(self, monkeypatch):
        A, image, data = small("xla", (5,))
        expected = A(image), A.H(data)
        monkeypatch.setattr(_transform, "GRIDS", 2 * 8 * 25 * 25)
        got = _transform._type2(A.plan, A.points, image), _transform._type1(A.plan, A.points, data)
        assert dft.error(got[0], expected[0]) < 1e-6
        assert dft.error(got[1], expected[1]) < 1e-6

    def test_points_sorted(self, monkeypatch):
        A, image, data = small("xla", (2,))
        expected = A(image), A.H(data)
        monkeypatch.setattr(_transform, "SORTED_GRID", 0)
        monkeypatch.setattr(_transform, "SORTED_POINTS", 0)
        got = _transform._type2(A.plan, A.points, image), _transform._type1(A.plan, A.points, data)
        assert dft.error(got[0], expected[0]) < 1e-6
        assert dft.error(got[1], expected[1]) < 1e-6

    @pytest.mark.parametrize("unrolled", [1, 8])
    def test_loops_over_taps(self, monkeypatch, unrolled):
        A, image, _ = small("xla")
        expected = A(image)
        monkeypatch.setattr(_interpolate, "UNROLLED", unrolled)
        assert dft.error(_transform._type2(A.plan, A.points, image[None]), expected) < 1e-6

    def test_scatter_of_other_platforms(self):
        A, _, data = small("xla", (3,))
        window, taps = (
            f(A.plan, A.points, data) for f in (_interpolate._add_points, _interpolate._add_taps)
        )
        assert dft.error(window, taps) < 1e-6


class TestExport:
    @pytest.mark.parametrize("backend", ["xla", "dft"])
    @pytest.mark.parametrize("f", [lambda A, x: A(x), lambda A, x: A.H(A(x)), jax.grad(loss)])
    def test_lowers_for_every_platform(self, backend, f):
        A, image, _ = small(backend)
        run = jax.jit(lambda points, x: jax.tree.leaves(f(with_points(A, points), x))[0])
        exported = export.export(run, platforms=("tpu", "cuda", "cpu"))(A.trajectory, image)
        assert exported.platforms == ("tpu", "cuda", "cpu")
        if backend == "dft":  # made for TPU
            assert "scatter" not in str(exported.mlir_module())

    @needs_finufft
    def test_finufft_refuses_with_advice(self):
        A, image, _ = small("finufft")
        with pytest.raises(ValueError, match="backend='xla'"):
            export.export(jax.jit(lambda x: A(x)))(image)


class TestToeplitz:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("shape", [(11,), (8, 9), (5, 6, 4)], ids=str)
    def test_equals_both_ways_one_after_the_other(self, backend, shape, x64):
        points, image, data = dft.draws(shape, 40, "float64", batch=(2,))
        A = nufft.nufft(points, shape, batch=(2,), eps=1e-8, backend=backend)
        shared, own = jnp.abs(data[0]), jnp.abs(data)
        assert dft.error(A.gram(image), A.H(A(image))) < 1e-7
        for weights in (shared, own):
            weighted = A.weighted_gram(weights)(image)
            assert dft.error(weighted, A.H(weights * A(image))) < 1e-7

    def test_gradient_in_weights_and_points(self, x64):
        points, image, data = dft.draws(SHAPE, 30, "float64")
        A = nufft.nufft(points, SHAPE, eps=1e-9, backend="xla")
        weights = jnp.abs(data)

        def fast(A, w):
            return loss(A.weighted_gram(w), image)

        def slow(A, w):
            return jnp.sum(jnp.abs(A.H(w * A(image))) ** 4)

        for a, b in zip(
            jax.tree.leaves(jax.grad(fast, (0, 1))(A, weights)),
            jax.tree.leaves(jax.grad(slow, (0, 1))(A, weights)),
            strict=True,
        ):
            assert dft.error(a, b) < 1e-7

    def test_spectrum_is_real_and_positive(self):
        A, _, _ = small("xla")
        spectrum = A.gram.spectrum
        assert jnp.isrealobj(spectrum)
        assert float(core.norm(A.gram, jax.random.key(0)).value) <= float(spectrum.max()) * 1.001

    def test_weights_that_do_not_fit(self):
        A, _, _ = small("xla", (2,))
        for weights, word in ((jnp.ones(29), "shape"), (jnp.ones(30, complex), "complex")):
            with pytest.raises(ValueError, match=f"`weights`.*{word}"):
                A.weighted_gram(weights)


class TestFactory:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"trajectory": np.zeros((5, 3))}, r"`trajectory` has shape \(5, 3\)"),
            ({"trajectory": np.zeros((0, 2))}, "`trajectory`.*no points"),
            ({"trajectory": np.zeros((5, 2), complex)}, "`trajectory` is complex"),
            ({"trajectory": np.full((5, 2), np.nan)}, "`trajectory` holds 5 points"),
            ({"image_shape": (8, 0)}, "`image_shape`"),
            ({"image_shape": (8, 8, 8, 8)}, "`image_shape`.*three axes"),
            ({"image_shape": (1 << 16, 1 << 16)}, "`image_shape`.*2.31"),
            ({"eps": 1e-9}, "`eps` is 1e-09.*x64"),
            ({"eps": 0.5}, "`eps`"),
            ({"eps": np.nan}, "`eps`"),
            ({"backend": "cuda"}, "`backend` is 'cuda'"),
            ({"oversampling": 1.0}, "`oversampling` is 1.0"),
            ({"batch": (-1,)}, "`batch`"),
        ],
    )
    def test_bad_arguments_are_named(self, change, message):
        good = {"trajectory": np.zeros((5, 2)), "image_shape": (8, 8), "backend": "xla"}
        with pytest.raises(ValueError, match=message):
            nufft.nufft(**(good | change))

    def test_a_grid_beyond_the_memory(self, monkeypatch):
        monkeypatch.setattr(_plan, "device_bytes", lambda: 10_000)
        with pytest.raises(ValueError, match=r"`image_shape`.*memory"):
            nufft.nufft(np.zeros((5, 2)), (64, 64), backend="xla")

    def test_back_end_that_is_missing(self, monkeypatch):
        monkeypatch.setattr(_plan.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"jaxrecon\[finufft\]"):
            nufft.nufft(np.zeros((5, 2)), (8, 8), backend="finufft")
        assert nufft.nufft(np.zeros((5, 2)), (8, 8)).backend == "xla"

    def test_back_end_is_visible(self):
        assert "backend='xla'" in repr(small("xla")[0])

    def test_data_of_other_kinds(self):
        A, image, _ = small("xla")
        real = image.real
        assert dft.error(A(real), A(real.astype(complex))) < 1e-6
        with pytest.raises(ValueError, match="`x` of NUFFT has dtype int32"):
            A(jnp.ones(SHAPE, jnp.int32))
        gradient = jax.grad(lambda x: loss(A, x))(real)
        assert gradient.dtype == jnp.float32

    def test_oversampling_is_chosen_by_cost(self):
        few, many = (
            nufft.nufft(np.zeros((n, 3), np.float32), (64, 64, 64), eps=1e-4, backend="xla")
            for n in (100, 10**6)
        )
        assert (few.oversampling, many.oversampling) == (1.25, 2.0)

    def test_subsets_are_shots(self):
        points, image, _ = dft.draws(SHAPE, 30, "float32")
        A = nufft.nufft(points.reshape(6, 5, 2), SHAPE, backend="xla")
        part = jax.jit(lambda i: A.subset(i, 3)(image))(1)
        np.testing.assert_allclose(part, A(image)[1::3], rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="`n` is 4"):
            A.subset(0, 4)


def test_chunks_that_do_not_divide():
    total = _gather.fold_chunks(lambda t, c: t + jnp.sum(c), jnp.float32(0), jnp.ones((10, 2)), 4)
    assert float(total) == 20
