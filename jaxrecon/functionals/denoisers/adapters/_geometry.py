"""Adapters of an image's geometry: tiles of large images, flips and quarter turns."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxrecon.core import match_varying, pytree, replace, static


@pytree
class Tiled:
    """A denoiser on overlapping tiles, one after the other: memory of one tile.

    The last axes are tiled. Tiles lie flush with the image's borders and count for nothing within
    `margin` pixels of their inner edges; between, they blend linearly. A denoiser that looks no
    further than `margin` pixels gives what it gives on the whole image, everywhere.

    Attributes:
        denoiser: a pytree callable ``D(x, sigma)``.
        tile: pixels along each of the tiled axes; shorter axes are taken whole.
        margin: see above.
        blend: pixels over which neighbouring tiles blend into each other.
    """

    denoiser: Any
    tile: tuple[int, ...] = static(default=(256, 256))
    margin: int = static(default=16)
    blend: int = static(default=8)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image.

        Raises:
            ValueError: tiles too small for margin and blend, or of more axes than x.
        """
        lead = x.ndim - len(self.tile)
        if lead < 0 or min(self.tile) <= 2 * self.margin + self.blend:
            raise ValueError(
                f"`tile` is {self.tile} for an image of shape {x.shape}, expected at most "
                f"{x.ndim} axes, each longer than 2·margin + blend = {2 * self.margin + self.blend}"
            )
        whole = [(np.zeros(1, int), np.ones((1, n))) for n in x.shape[:lead]]
        sizes = zip(x.shape[lead:], self.tile, strict=True)
        axes = whole + [_windows(n, min(t, n), self.margin, self.blend) for n, t in sizes]
        shape = tuple(window.shape[1] for _, window in axes)
        choices = np.array(list(itertools.product(*(range(len(s)) for s, _ in axes))), np.int32)

        def body(total, choice):
            start = [jnp.asarray(s, jnp.int32)[i] for (s, _), i in zip(axes, choice, strict=True)]
            part = self.denoiser(jax.lax.dynamic_slice(x, start, shape), sigma)
            for axis, (_, window) in enumerate(axes):
                line = jnp.asarray(window, x.real.dtype)[choice[axis]]
                part = part * jnp.expand_dims(line, [a for a in range(x.ndim) if a != axis])
            old = jax.lax.dynamic_slice(total, start, shape)
            return jax.lax.dynamic_update_slice(total, old + part, start), None

        zero = match_varying(jnp.zeros_like(x), (x, sigma, self.denoiser))
        return jax.lax.scan(body, zero, jnp.asarray(choices))[0]


def _windows(n: int, tile: int, margin: int, blend: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts of the tiles along an axis and their weights ``(tiles, tile)``, which sum to one."""
    stride = tile - 2 * margin - blend
    count = 1 if n <= tile else -(-(n - tile) // stride) + 1
    starts = np.round(np.linspace(0, n - tile, count)).astype(int)
    place = np.arange(tile) + 0.5
    weights = []
    for start in starts:
        left = np.inf if start == 0 else place - margin
        right = np.inf if start + tile == n else tile - margin - place
        weights.append(np.clip(np.minimum(left, right) / (blend + 1), 0, 1) + np.zeros(tile))
    total = np.zeros(n)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    normalised = [w / total[s : s + tile] for s, w in zip(starts, weights, strict=True)]
    return starts, np.stack(normalised)


@pytree
class Equivariant:
    """A denoiser averaged over the eight flips and quarter turns of the last two axes.

    The average commutes with those symmetries and is no more expansive than D; it stabilises
    plug-and-play (Terris, Moreau, Pustelnik and Tachella, CVPR 2024). A stochastic solver draws
    one of the eight at every step instead (`randomised`), at the cost of one.

    Attributes:
        denoiser: a pytree callable ``D(x, sigma)``.
        member: which of the eight, 0 … 7, may be traced; None averages.
    """

    denoiser: Any
    member: Any = None

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image."""
        one = functools.partial(self._conjugated, x, sigma)
        if self.member is not None:
            turned = jnp.asarray(self.member) >= 4
            flips = jnp.asarray(self.member) % 4
            return jax.lax.cond(turned, lambda: one(flips, True), lambda: one(flips, False))
        means = [
            jnp.mean(jax.lax.map(lambda f, turn=turn: one(f, turn), jnp.arange(4)), 0)
            for turn in (False, True)
        ]
        return 0.5 * (means[0] + means[1])

    def randomised(self, key: Key[Array, ""]) -> "Equivariant":
        """One of the eight, drawn uniformly."""
        return replace(self, member=jax.random.randint(key, (), 0, 8))

    def _conjugated(self, x: Array, sigma: Any, flips: Array, turn: bool) -> Array:
        """T⁻¹ D(T x): T flips the axes given by the bits of `flips`, then may transpose."""
        x = _flip(x, flips)
        x = jnp.swapaxes(x, -1, -2) if turn else x
        x = self.denoiser(x, sigma)
        x = jnp.swapaxes(x, -1, -2) if turn else x
        return _flip(x, flips)


def _flip(x: Array, flips: Array) -> Array:
    x = jnp.where(flips % 2 == 1, jnp.flip(x, -1), x)
    return jnp.where(flips >= 2, jnp.flip(x, -2), x)
