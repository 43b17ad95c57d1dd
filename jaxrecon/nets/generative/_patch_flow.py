"""A normalising flow on image patches: their exact density, samples, and a prior of images from it.

    z = T(p),    log q(p) = −½‖z‖² − ½ n log 2π + log |det ∂T/∂p|                           (1)

T is a chain of affine couplings (Dinh, Sohl-Dickstein and Bengio, ICLR 2017), with the entries
of the patch in another order before each. Half of the entries stay, the others become

    b' = exp(s(a)) b + t(a),    s = c tanh(s̃ / c),                                          (2)

with s̃ and t of a small network of the first half a. Its inverse and the determinant, exp Σs, are
exact. A few images make many patches, so that little data trains one. As a regulariser,

    R(x) = w / N_p Σ over patches of −log q(p)                                              (3)

is that of PatchNR (Altekrüger, Denker, Hagemann, Hertrich, Maass and Steidl, Inverse Problems 39,
2023), whose steps see some patches, drawn anew, at a time.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Inexact, Int, Key

from jaxrecon.core import pytree, replace, static
from jaxrecon.functionals import Functional
from jaxrecon.nets.layers import activation_named, to_channels

# A linear map of zeros: the flow starts as a change of order, whose density is known.
_NOTHING = nnx.initializers.zeros_init()


class PatchFlow(nnx.Module):
    """T of (1) on patches of side² · n_channels entries, as vectors: `log_density` and back.

    Parameters, with d entries, h = ⌊d/2⌋ that stay, w = `width`: depth · ((h + 1) w + (w + 1) w +
    (w + 1) 2 (d − h)).

    Args:
        side: of a patch in pixels.
        n_channels: of the images: 2 for complex ones.
        width: of the two hidden layers of each coupling's network.
        depth: number of couplings.
        limit: c of (2): a coupling stretches by at most exp(c).
        activation: a name in `layers.ACTIVATIONS`; one with a continuous slope makes (3) smooth.
        n_axes: 2 for images, 3 for volumes.
        seed: of the orders; part of the network's definition.
        dtype: of activations.
        param_dtype: of parameters.
        rngs: source of the initial values.

    Example:
        >>> flow = PatchFlow(3, width=8, depth=2, rngs=nnx.Rngs(0))
        >>> patches = jax.random.normal(jax.random.key(0), (5, 9))
        >>> bool(jnp.allclose(flow.inverse(flow(patches)), patches, atol=1e-6))
        True
        >>> flow.log_density(patches).shape
        (5,)
    """

    def __init__(
        self,
        side: int,
        *,
        n_channels: int = 1,
        width: int = 128,
        depth: int = 6,
        limit: float = 2.0,
        activation: str = "silu",
        n_axes: int = 2,
        seed: int = 0,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.side, self.n_channels, self.n_axes = side, n_channels, n_axes
        self.n_entries = side**n_axes * n_channels
        if self.n_entries < 2:
            raise ValueError(f"`side` is {side}, expected patches of at least two entries")
        draw = np.random.default_rng(seed)
        self.orders = tuple(tuple(map(int, draw.permutation(self.n_entries))) for _ in range(depth))
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        sizes = (self.n_entries, width, limit, activation)
        self.couplings = nnx.List([_Coupling(*sizes, **options) for _ in range(depth)])

    def forward(self, x: Float[Array, "... entry"]) -> tuple[Array, Array]:
        """The latents of patches, and log |det ∂T/∂p|, ``(...)``.

        Raises:
            ValueError: x has not the entries of a patch.
        """
        self._check(x)
        total = jnp.zeros(x.shape[:-1], x.dtype)
        for order, coupling in zip(self.orders, self.couplings):
            x, log_scale = coupling(x[..., np.array(order)])
            total = total + jnp.sum(log_scale, -1)
        return x, total

    def inverse(self, z: Float[Array, "... entry"]) -> Float[Array, "... entry"]:
        """The patches of latents."""
        self._check(z)
        for order, coupling in zip(reversed(self.orders), reversed(list(self.couplings))):
            z = coupling.inverse(z)[..., np.argsort(order)]
        return z

    def log_density(self, x: Float[Array, "... entry"]) -> Float[Array, "..."]:
        """Log density of patches, equation (1)."""
        z, log_determinant = self.forward(x)
        constant = 0.5 * self.n_entries * math.log(2 * math.pi)
        return log_determinant - 0.5 * jnp.sum(z * z, -1) - constant

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Float[Array, "... entry"]:
        """Draws of q, ``(*shape, entry)``."""
        return self.inverse(jax.random.normal(key, (*shape, self.n_entries)))

    def __call__(self, x: Float[Array, "... entry"]) -> Float[Array, "... entry"]:
        """The latents of patches."""
        return self.forward(x)[0]

    def _check(self, x: Array) -> None:
        if x.ndim < 1 or x.shape[-1] != self.n_entries:
            raise ValueError(
                f"`x` has shape {x.shape}, expected (..., {self.n_entries}), patches of side "
                f"{self.side} with {self.n_channels} channels: see `all_patches`"
            )


class _Coupling(nnx.Module):
    """Equation (2)."""

    def __init__(self, n: int, width: int, limit: float, activation: str, **options: Any):
        self.n_kept, self.limit, self.activation = n // 2, limit, activation
        self.first = nnx.Linear(n // 2, width, **options)
        self.second = nnx.Linear(width, width, **options)
        self.last = nnx.Linear(width, 2 * (n - n // 2), kernel_init=_NOTHING, **options)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        kept, moved = jnp.split(x, [self.n_kept], -1)
        log_scale, shift = self._of(kept)
        return jnp.concatenate([kept, jnp.exp(log_scale) * moved + shift], -1), log_scale

    def inverse(self, x: Array) -> Array:
        kept, moved = jnp.split(x, [self.n_kept], -1)
        log_scale, shift = self._of(kept)
        return jnp.concatenate([kept, jnp.exp(-log_scale) * (moved - shift)], -1)

    def _of(self, kept: Array) -> tuple[Array, Array]:
        rho = activation_named(self.activation)
        features = self.last(rho(self.second(rho(self.first(kept)))))
        log_scale, shift = jnp.split(features.astype(kept.dtype), 2, -1)
        return self.limit * jnp.tanh(log_scale / self.limit), shift


def all_patches(
    x: Float[Array, "... channel"], side: int, *, n_axes: int = 2
) -> Float[Array, "patch entry"]:
    """Every patch of an image with channels last, of side^n_axes pixels, as vectors.

    Example:
        >>> all_patches(jnp.arange(6.0).reshape(2, 3, 1), 2).tolist()
        [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]
    """
    corners = jnp.indices([n - side + 1 for n in x.shape[:n_axes]]).reshape(n_axes, -1).T
    return patches_at(x, corners, side)


def random_patches(
    key: Key[Array, ""], x: Float[Array, "... channel"], side: int, n: int, *, n_axes: int = 2
) -> Float[Array, "patch entry"]:
    """Patches at corners drawn at random, as vectors."""
    highest = jnp.array([m - side + 1 for m in x.shape[:n_axes]])
    return patches_at(x, jax.random.randint(key, (n, n_axes), 0, highest), side)


def patches_at(
    x: Float[Array, "... channel"], corners: Int[Array, "patch axis"], side: int
) -> Float[Array, "patch entry"]:
    """Patches by their first corners."""
    n_axes = corners.shape[-1]
    offsets = jnp.indices((side,) * n_axes).reshape(n_axes, 1, -1)
    places = tuple(corners.T[:, :, None] + offsets)
    return x[places].reshape(len(corners), -1)


@pytree
class PatchPrior(Functional):
    """R of (3), a regulariser of images ``(y, x)``, real or complex, for gradient methods.

    Attributes:
        flow: a `PatchFlow`, with two channels for complex images.
        weight: w.
        n_patches: patches drawn for a stochastic step (`randomised`), or None for all of them.
        key: of the draw; None for all patches.
    """

    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = False

    flow: Any
    weight: Any = 1.0
    n_patches: int | None = static(default=None)
    key: Any = None

    def __call__(self, x: Inexact[Array, "..."]) -> Float[Array, ""]:
        channels, side, n_axes = to_channels(x), self.flow.side, self.flow.n_axes
        if self.key is None or self.n_patches is None:
            patches = all_patches(channels, side, n_axes=n_axes)
        else:
            patches = random_patches(self.key, channels, side, self.n_patches, n_axes=n_axes)
        return -self.weight * jnp.mean(self.flow.log_density(patches))

    def randomised(self, key: Key[Array, ""]) -> "PatchPrior":
        return replace(self, key=key)
