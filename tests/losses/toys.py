"""Networks small enough for closed forms, gradients by differences, means over noise and keys."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.core import LinearOperator, identity, operator, pytree, tree

KEY = jax.random.key(11)
SHAPE = (2, 4)
WEIGHTS = np.array([0.7, -0.3, 0.0])


def truth():
    return 2 + jnp.abs(jax.random.normal(jax.random.key(3), SHAPE))


def bare(A, y, weights=WEIGHTS):
    return mix(weights, A.H(y))


def statistics(values):
    values = np.asarray(values, np.float64)
    return values.mean(0), values.std(0) / np.sqrt(len(values))


def supervised_slope(x, variance):
    """d/d(a, b) of E‖f(x + n) − x‖²/N for f = a + b·roll, n independent with these variances."""
    a, b, _ = WEIGHTS
    rolled = np.roll(x, 1, (0, 1))
    residual = a * x + b * rolled - x
    noise = np.mean(variance)
    return 2 * np.array([np.mean(residual * x) + a * noise, np.mean(residual * rolled) + b * noise])


def slopes_over_keys(loss, draw, n=4000):
    """The loss's gradient in (a, b) for many measurements and keys of the loss."""
    x = truth()
    A = identity(x)

    def slope(key):
        key_y, key_loss = jax.random.split(key)
        y = draw(key_y, x)
        value = lambda w: loss(lambda A, y: bare(A, y, w), {"y": y, "A": A}, key_loss)[0]  # noqa: E731
        return jax.grad(value)(jnp.asarray(WEIGHTS))[:2]

    return statistics(jax.jit(jax.vmap(slope))(jax.random.split(KEY, n)))


class Mixing(nnx.Module):
    """(a + b·roll) of Aᴴy, plus c·tanh: linear in a and b where c is 0."""

    def __init__(self, a=0.7, b=-0.3, c=0.0):
        self.weights = nnx.Param(jnp.array([a, b, c], float))

    def __call__(self, A, y):
        return mix(self.weights[...], A.H(y))


def mix(weights, image):
    a, b, c = weights
    bent = jnp.tanh(image.real) if jnp.iscomplexobj(image) else jnp.tanh(image)
    return a * image + b * jnp.roll(image, 1, (-2, -1)) + c * bent


@pytree
class Linear:
    """A matrix on the measurement, then the inverse of the full scan: blind to masks."""

    matrix: jax.Array

    def __call__(self, A, y):
        return jnp.fft.fftshift(
            jnp.fft.ifft(jnp.fft.ifftshift(self.matrix @ y[0]), norm="ortho")
        ).reshape(1, -1)


@pytree
class Fixed:
    """A split that is given, with the probabilities that it would have had."""

    keep: jax.Array
    q: jax.Array

    def __call__(self, key, units):
        return units & self.keep

    def probability(self, shape):
        return self.q.reshape(shape)


@operator
class Views(LinearOperator):
    """A scan of dense views: (view, bin, y, x) times an image."""

    matrices: jax.Array

    @property
    def domain(self):
        return jax.ShapeDtypeStruct(self.matrices.shape[2:], self.matrices.dtype)

    @property
    def range(self):
        return jax.ShapeDtypeStruct(self.matrices.shape[:2], self.matrices.dtype)

    def forward(self, x):
        return jnp.tensordot(self.matrices, x, 2)

    def adjoint(self, y):
        return jnp.tensordot(y, self.matrices, 2)

    def subset(self, i, n):
        return Views(self.matrices.reshape(-1, n, *self.matrices.shape[1:])[:, i])


def check_gradient(f, x, *, tolerance=1e-7):
    """The gradient of a real f along a random direction of x, an array or pytree."""
    direction = tree.random_normal(jax.random.key(5), x)
    exact = tree.dot(jax.tree.map(jnp.conj, jax.grad(f)(x)), direction)
    step = 1e-6
    ahead, behind = (f(tree.add_scaled(x, s * step, direction)) for s in (1, -1))
    numeric = (ahead - behind) / (2 * step)
    assert abs(float(exact)) > 1e-9, "a derivative of zero proves nothing"
    np.testing.assert_allclose(float(exact), float(numeric), rtol=tolerance, atol=1e-10)


def gaussian_points(n, sigma):
    """2n equally likely vectors with mean 0 and covariance σ²I: exact means of quadratics."""
    return np.sqrt(n) * sigma * np.concatenate([np.eye(n), -np.eye(n)])


def signs(n):
    """All vectors of ±1."""
    return np.array(np.meshgrid(*[[-1.0, 1.0]] * n)).reshape(n, -1).T
