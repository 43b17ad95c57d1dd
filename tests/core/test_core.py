"""Core pieces against explicit truth: FFT matrix, norms, errors, saving, finality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.core import tree


def test_fft_is_the_explicit_centred_dft(key):
    n = 7
    index = np.arange(n) - n // 2
    matrix = np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)
    A = core.fft(jax.ShapeDtypeStruct((n,), jnp.complex64))
    np.testing.assert_allclose(core.materialise(A), matrix, atol=1e-6)


def test_norm_is_the_largest_singular_value(key):
    M = jax.random.normal(key, (8, 5), jnp.complex64)
    A = core.from_function(jnp.matmul, jnp.zeros(5, jnp.complex64), M)
    result = core.norm(A, key, n_iter=300, tol=1e-6).check()
    np.testing.assert_allclose(result.value, np.linalg.norm(M, 2), rtol=1e-4)
    assert not bool(core.norm(A, key, n_iter=1, tol=1e-6).status.ok)


def test_pad_keeps_the_fourier_origin():
    A = core.pad(jnp.zeros(5), (8,))
    origin = jnp.zeros(5).at[5 // 2].set(1.0)
    assert int(jnp.argmax(A(origin))) == 8 // 2


def test_linearise_is_the_derivative(x64, key):
    x = jax.random.normal(key, (4,))
    model = core.chain(core.pointwise(jnp.exp, x), core.diagonal(jnp.arange(4.0) - 1.5, x))
    y, derivative = model.linearise(x)
    np.testing.assert_allclose(y, jnp.exp((jnp.arange(4.0) - 1.5) * x))
    np.testing.assert_allclose(core.materialise(derivative), jax.jacobian(model)(x), rtol=1e-12)


def test_dot_is_real_and_keeps_precision(x64):
    a = {"r": jnp.ones(3, jnp.float32), "c": jnp.full(2, 1 + 2j, jnp.complex64)}
    assert tree.dot(a, a) == 13.0
    assert tree.dot(a, a).dtype == jnp.float32
    assert jax.grad(lambda x: tree.norm(x))(jnp.zeros(3)).tolist() == [0, 0, 0]


def test_scalars_do_not_change_precision():
    x = jnp.ones(3, jnp.bfloat16)
    assert tree.scale(0.5, x).dtype == jnp.bfloat16
    assert core.diagonal(jnp.ones(3) > 0, x)(x).dtype == jnp.bfloat16


def test_operators_are_final():
    A = core.identity(jnp.zeros(3))
    with pytest.raises(TypeError, match="final"):
        type("Sub", (type(A),), {})


def test_complex_scalar_on_real_range_has_a_real_adjoint(key):
    A = (1 - 2j) * core.gradient(jnp.zeros((3, 4)))
    assert core.adjointness(A, key) < 1e-6
    assert A.H(jnp.ones((2, 3, 4), jnp.complex64)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda A: A @ jnp.zeros(3), "write `A\\(x\\)`"),
        (lambda A: A @ core.fft(jnp.zeros(4)), "A's domain"),
        (lambda A: A + core.identity(jnp.zeros(4)), "A's domain"),
        (lambda A: jnp.ones(3) * A, "scalar"),
        (lambda A: core.stack([]), "`parts` is empty"),
        (lambda A: A.subset(0, 2), "no subsets"),
        (lambda A: A(jnp.zeros((2, 3))), "jax.vmap"),
        (lambda A: A(jnp.zeros(3, int)), "dtype int32"),
        (lambda A: A({"a": jnp.zeros(3)}), "structure"),
        (lambda A: core.gradient(jnp.zeros(3), boundary="magic"), "`boundary`"),
        (lambda A: core.crop(jnp.zeros(3), (4,)), "`shape`"),
        (lambda A: core.diagonal(jnp.zeros(2), jnp.zeros(3)), "`weights`"),
    ],
)
def test_errors_name_the_argument(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build(core.identity(jnp.zeros(3)))


def test_a_broken_file_is_refused_by_name(tmp_path):
    path = tmp_path / "A.npz"
    core.save(path, core.fft(jnp.zeros(4)))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"A\.npz"):
        core.load(path)
    with pytest.raises(ValueError, match="missing"):
        core.load(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match=r"`root\.function`"):
        core.save(tmp_path / "B.npz", core.from_function(jnp.multiply, jnp.zeros(2), 1.0))
    assert [p.name for p in tmp_path.iterdir()] == ["A.npz"]


def test_jax_39103_canary():
    """The miscompilation for which jax 0.10.2 is excluded."""
    x = jnp.full((4, 2**14), 2.0**7)
    total = jax.jit(lambda M, x: jnp.sum(jax.vmap(lambda v: jnp.dot(M, v))(x)))
    np.testing.assert_allclose(total(jnp.ones(2**14), x), 4.0 * 2**14 * 2**7)
