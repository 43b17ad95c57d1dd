"""The algebra of functionals: laws, what it keeps, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import (
    block_diagonal,
    diagonal,
    from_function,
    identity,
    materialise,
    stack,
    tree,
)
from jaxrecon.functionals._duality import Conjugate, InfimalConvolution
from tests.functionals.draws import normal, positive


def _dense(dtype, rows=5, columns=7, fold=1):
    return from_function(
        lambda m, x: jnp.matmul(m, x, precision="highest"),
        jax.ShapeDtypeStruct((columns,), dtype),
        normal(dtype, (rows, columns), fold),
    )


def test_what_a_sum_and_a_multiple_are():
    y = normal("float32")
    for f, smooth, fidelity in (
        (2 * F.L1(0.5), False, False),
        (2 * F.LeastSquares(y), True, True),
        (F.SquaredL2() + F.LeastSquares(y), True, True),
        (F.L1() + F.LeastSquares(y), False, True),
        (F.SquaredL2() + F.Zero(), True, False),
        (F.translated(F.LeastSquares(y), y), True, True),
        (F.moreau_envelope(F.L1()), True, False),
    ):
        assert (f.smooth, f.fidelity) == (smooth, fidelity)
        assert f.convex
    assert len(jax.tree.leaves(F.L1() + F.L2() + F.L1())) == 3
    assert not (2 * F.Amplitude(y)).convex


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_quadratics_of_an_operator(dtype, x64):
    """Normal equations and curvature roots behind a dense operator, entry by entry."""
    A, x, w = _dense(dtype), normal(dtype, (7,)), positive(dtype, (5,))
    y, s = normal(dtype, (5,), 2), normal(dtype, (5,), 3)
    data = F.LeastSquares(y, w)
    for f in (0.3 * data, data + 2 * F.SquaredL2(0.7), F.translated(data, s)):
        G, b = f.normal(A)
        np.testing.assert_allclose(G(x) - b, A.H(f.grad(A(x))), rtol=1e-12)
        root = f.curvature_root(A)
        np.testing.assert_allclose(materialise(root.gram), materialise(G), rtol=1e-9, atol=1e-9)
    W = _dense(dtype, 4, 5, 4)
    f = F.Precomposed(F.SquaredL2(0.5), W)
    np.testing.assert_allclose(f.normal(A)[0](x), A.H(f.grad(A(x))), rtol=1e-12)


def test_parts_of_a_sum(x64):
    """Fidelities are cut, the rest shared out."""
    y, x = normal("float64"), normal("float64", fold=1)
    f = F.LeastSquares(y) + 0.4 * F.SquaredL2(0.7)
    rows = x.reshape(2, 2, 6)
    parts = [f.subset(i, 2) for i in range(2)]
    expected = F.LeastSquares(y)(x) + 0.5 * 0.4 * F.SquaredL2(0.7)(x)
    np.testing.assert_allclose(sum(p(rows[:, i]) for i, p in enumerate(parts)), expected)
    np.testing.assert_allclose(
        sum(p.normal(identity(rows[:, 0]))[1] for p in parts), y.reshape(2, 2, 6).sum(1)
    )


def test_separable_of_several_measurements(x64):
    A, B, x = _dense("float64"), _dense("float64", 3, fold=2), normal("float64", (7,))
    data = [normal("float64", (n,), n) for n in (5, 3)]
    f = F.separable((F.LeastSquares(data[0]), 0.5 * F.LeastSquares(data[1])))
    S = stack([A, B])
    gradient = A.H(A(x) - data[0]) + 0.5 * B.H(B(x) - data[1])
    np.testing.assert_allclose(S.H(f.grad(S(x))), gradient, rtol=1e-12)
    G, b = f.normal(S)
    np.testing.assert_allclose(G(x) - b, gradient, rtol=1e-12)
    np.testing.assert_allclose(f.curvature_root(S).gram(x), G(x), rtol=1e-12)
    assert f.fidelity
    assert f.smooth


def test_separable_of_several_images(x64):
    """Behind an operator that is not a stack, the components are picked out."""
    A, B = _dense("float64"), _dense("complex128", 3, fold=2)
    D = block_diagonal([A, B])
    x = (normal("float64", (7,)), normal("complex128", (7,)))
    f = F.separable((F.LeastSquares(A(x[0]) + 1), F.SquaredL2(0.3)))
    G, b = f.normal(D)
    for got, expected in zip(tree.sub(G(x), b), D.H(f.grad(D(x))), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10)
    for got, expected in zip(f.curvature_root(D).gram(x), G(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_separable_proximal_maps(x64):
    x = (normal("float64"), normal("complex128", fold=1))
    f = F.separable((F.L1(0.3), F.L2(0.7)))
    np.testing.assert_allclose(f(x), F.L1(0.3)(x[0]) + F.L2(0.7)(x[1]), rtol=1e-12)
    p = f.prox(x, (0.5, 2.0))
    q = f.conjugate_prox(tuple(a / t for a, t in zip(x, (0.5, 2.0), strict=True)), (2.0, 0.5))
    for i, (g, t) in enumerate(((F.L1(0.3), 0.5), (F.L2(0.7), 2.0))):
        np.testing.assert_allclose(p[i], g.prox(x[i], t), rtol=1e-12)
        np.testing.assert_allclose(p[i] + t * q[i], x[i], rtol=1e-12)
    with pytest.raises(ValueError, match="`x` has 3 parts"):
        f((x[0], x[0], x[0]))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_conjugates(dtype, x64):
    """Fenchel's equality holds at a proximal point, his inequality elsewhere."""
    x, other = normal(dtype, fold=1), 0.1 * normal(dtype, fold=2)
    for f in (F.L1(0.6), F.LInfBall(0.6), F.SquaredL2(0.7), F.L2(0.9), F.L21(0.4), F.L1Ball(2.0)):
        dual = F.conjugate(f)
        p = f.prox(x, 1.0)
        y = x - p
        np.testing.assert_allclose(f(p) + dual(y), tree.dot(p, y), rtol=1e-9, atol=1e-9)
        assert float(f.prox(other, 1.0).real.max()) < 9
        inside = f.prox(other, 1.0)
        assert float(f(inside) + dual(y) - tree.dot(inside, y)) > -1e-9
        np.testing.assert_allclose(dual.prox(x, 0.7), Conjugate(f).prox(x, 0.7), atol=1e-12)
        twice = F.conjugate(dual)
        np.testing.assert_allclose(twice.prox(x, 0.7), f.prox(x, 0.7), rtol=1e-12)
    assert F.conjugate(F.conjugate(f)) is f


def test_the_envelope_of_l1_is_huber(x64):
    x = normal("complex128", fold=1)
    huber, envelope = 2.0 * F.Huber(jnp.zeros(()), 0.3), F.moreau_envelope(F.L1(0.6), 0.5)
    np.testing.assert_allclose(envelope(x), huber(x), rtol=1e-12)
    np.testing.assert_allclose(envelope.grad(x), huber.grad(x), rtol=1e-12)
    np.testing.assert_allclose(envelope.prox(x, 0.8), huber.prox(x, 0.8), rtol=1e-12)


def test_infimal_convolution_with_a_square_is_the_envelope(x64):
    x = normal("float64", fold=1)
    exact = F.infimal_convolution(F.SquaredL2(2.0), F.L1(0.6))
    assert isinstance(exact, F.MoreauEnvelope)
    iterated = InfimalConvolution(F.L1(0.6), F.SquaredL2(2.0), 300)
    np.testing.assert_allclose(iterated(x), exact(x), rtol=1e-9)
    np.testing.assert_allclose(iterated.prox(x, 0.8), exact.prox(x, 0.8), atol=1e-7)


def test_infimal_convolution_of_supports(x64):
    """The distance in the ℓ1 norm to a box: value, and Moreau with the conjugates' sum."""
    x = 2 * normal("float64", fold=1)
    f = F.infimal_convolution(F.L1(0.6), F.Box(-0.5, 0.5), n_iter=400)
    np.testing.assert_allclose(f(x), 0.6 * jnp.sum(jnp.maximum(jnp.abs(x) - 0.5, 0)), rtol=1e-6)
    # (f □ g)* = f* + g*: the indicator of |y| ≤ 0.6 and 0.5 ‖y‖₁.
    dual = jnp.clip(F.soft_threshold(x, 0.5), -0.6, 0.6)
    np.testing.assert_allclose(f.prox(x, 1.0), x - dual, atol=1e-6)


def test_sums_refuse_what_they_cannot_map(x64):
    x = normal("float64")
    for f in (F.L1() + F.L2(), F.L2() + F.non_negative(), F.Amplitude(x) + F.Box(-1.0)):
        with pytest.raises(ValueError, match="no proximal map"):
            f.prox(x, 1.0)
    with pytest.raises(ValueError, match="not smooth"):
        (F.L1() + F.SquaredL2()).grad(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: jnp.ones(2) * F.L1(), "positive scalar"),
        (lambda x: F.L1() * F.L1(), "positive scalar"),
        (lambda x: F.precomposed(F.L1(), diagonal(x, x)), "not a tight frame"),
        (lambda x: F.conjugate(F.Amplitude(x)), "not convex"),
        (lambda x: F.infimal_convolution(F.L1(), F.Amplitude(x)), "convex"),
        (lambda x: F.moreau_envelope(F.Amplitude(x)).prox(x, 1.0), "non-convex"),
        (lambda x: (F.L1() + F.L2()).subset(0, 2), "no subsets"),
    ],
)
def test_errors(call, message, x64):
    with pytest.raises(ValueError, match=message):
        call(positive("float64"))


def test_a_sum_with_a_number_is_a_type_error():
    with pytest.raises(TypeError):
        _ = F.L1() + 1.0  # pyright: ignore[reportOperatorIssue]


def test_tightness_is_found(x64):
    W = from_function(lambda m, x: m @ x, jnp.zeros(4), jnp.array([[1.0, 1, 1, 1], [1, -1, 1, -1]]))
    found = F.precomposed(F.L1(), W)
    assert isinstance(found, F.Precomposed)
    np.testing.assert_allclose(found.nu, 4.0, rtol=1e-12)


def test_random_parts_are_drawn_through_the_algebra():
    x = normal("float32", (8, 8))
    random = F.WaveletL1(0.5, F.wavelet(x, "haar", levels=2))
    total = 2 * F.translated(random, x) + F.SquaredL2()
    draws = [total.randomised(jax.random.key(i)).prox(0.3 * x, 1.0) for i in range(6)]
    assert max(float(jnp.abs(d - draws[0]).max()) for d in draws) > 1e-3
