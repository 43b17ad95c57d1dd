"""BM3D: denoising by block matching and three-dimensional collaborative filtering.

Two passes over groups of similar n×n patches (Dabov, Foi, Katkovnik and Egiazarian, IEEE Trans.
Image Process. 16, 2007; Mäkinen, Azzari and Foi, IEEE Trans. Image Process. 29, 2020):

    basic:  groups matched in y; T₃ = Haar ∘ bior1.5; coefficients up to λσ are set to 0;        (1)
    final:  groups matched in the basic estimate; T₃ = Haar ∘ DCT; coefficients are multiplied
            by S²/(S² + σ²), S those of the basic estimate.                                   (2)

The filtered patches return to their places, weighted by a Kaiser window over the patch and by
1/(number of kept coefficients) in (1), 1/‖gains‖² in (2).

Reference patches lie on every `step`-th row and column; the image is extended by reflection at
its end by less than a step so that they reach the border. Patches to match lie wholly inside. The
image is worked on in bands of reference rows, which bounds the memory by about
40 kB · `block` beyond a few images.

Two differences from the papers: by default a group takes its 16 (32) best matches without a limit
on their distance, which changes nothing measurable on natural images and leaves
D(c·x, c·σ) = c·D(x, σ) true in any units; and strong noise does not switch to another profile.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.core import match_varying, pytree, static
from jaxrecon.functionals.denoisers._checks import real_image, unless_noiseless
from jaxrecon.functionals.denoisers.bm3d import _filter, _transforms
from jaxrecon.functionals.denoisers.bm3d._match import Grid, match


@pytree
class BM3D:
    """BM3D denoiser of real images ``(y, x)``; see the module's text.

    Which patches are matched is a constant to derivatives: the gradient in x and sigma is that of
    the filter with its groups held fixed.

    Attributes:
        threshold: λ of the hard thresholding, in noise standard deviations.
        similarity: for both passes, the largest mean squared difference of matched patches (beyond
            the 2σ² that noise alone makes in the first), in squared units of the image. The papers'
            values are 3000 and 400 for a range of 0 to 255.
        patch: n, a power of two.
        step: pixels between reference patches.
        search: pixels that a match may be away along an axis.
        group: the largest number of patches in a group, powers of two, for both passes.
        beta: of the Kaiser window.
        block: reference patches worked on at once; bounds memory.

    Example:
        >>> noisy = 0.1 * jax.random.normal(jax.random.key(0), (32, 40))
        >>> bool(jnp.std(BM3D()(noisy, 0.1)) < 0.02)
        True
    """

    threshold: Any = 2.7
    similarity: tuple[Any, Any] = (jnp.inf, jnp.inf)
    patch: int = static(default=8)
    step: int = static(default=3)
    search: int = static(default=19)
    group: tuple[int, int] = static(default=(16, 32))
    beta: float = static(default=2.0)
    block: int = static(default=4096)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; at sigma = 0 the image itself.

        Raises:
            ValueError: x is complex, not two-dimensional, or smaller than a patch; sizes that are
                not powers of two.
        """
        x = real_image(x, rank=2, smallest=self.patch)
        _check_powers(patch=self.patch, group=self.group)
        return unless_noiseless(lambda sigma: self._denoise(x, sigma), x, sigma)

    def _denoise(self, x: Array, sigma: Array) -> Array:
        bands = _cut(x, self.patch, self.step, self.search, self.block)
        basic = _assemble(bands, lambda start: _hard_pass(self, bands, sigma, start))
        final = _assemble(bands, lambda start: _wiener_pass(self, bands, basic, sigma, start))
        return final[self.search : self.search + x.shape[0], : x.shape[1]]


class _Bands(NamedTuple):
    """The extended image, with `search` empty rows above and below, and its horizontal bands."""

    grid: Grid
    starts: Int[Array, "band"]
    image: Float[Array, "h w"]
    inside: Bool[Array, "r"]

    def rows(self, image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(image, start, self.grid.height)

    def rows_inside(self, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(self.inside, start, self.grid.starts[0])


def _cut(x: Array, patch: int, step: int, search: int, block: int) -> _Bands:
    n_rows, n_columns = (-(-(n - patch) // step) + 1 for n in x.shape)
    n_bands = -(-n_rows // min(max(block // n_columns, 1), n_rows))
    grid = Grid(patch, step, search, -(-n_rows // n_bands), n_columns)
    extended = step * (n_rows - 1) + patch
    ends = ((0, extended - x.shape[0]), (0, grid.width - x.shape[1]))
    x = jnp.pad(x, ends, mode="symmetric")
    # The last band may have rows beyond the image: nothing there is ever matched.
    height = step * (n_bands * grid.rows - 1) + patch
    image = jnp.pad(x, ((search, search + height - extended), (0, 0)))
    first = jnp.arange(image.shape[0] - patch + 1) - search
    inside = (first >= 0) & (first <= extended - patch)
    return _Bands(grid, step * grid.rows * jnp.arange(n_bands), image, inside)


def _hard_pass(D: BM3D, bands: _Bands, sigma: Array, start: Array) -> _filter.Sums:
    """Equation (1) in one band."""
    band, limit = bands.rows(bands.image, start), D.similarity[0] + 2 * sigma**2
    found = match(band, bands.rows_inside(start), bands.grid, D.group[0])
    similar = _filter.group(found, limit, band.dtype)
    basis, window = _transforms.spline_wavelet(D.patch), _transforms.window(D.patch, D.beta)
    return _filter.hard_threshold(band, similar, D.threshold * sigma, basis, window, bands.grid)


def _wiener_pass(D: BM3D, bands: _Bands, basic: Array, sigma: Array, start: Array) -> _filter.Sums:
    """Equation (2) in one band."""
    noisy, clean = bands.rows(bands.image, start), bands.rows(basic, start)
    found = match(clean, bands.rows_inside(start), bands.grid, D.group[1])
    similar = _filter.group(found, D.similarity[1], noisy.dtype)
    basis, window = _transforms.dct(D.patch), _transforms.window(D.patch, D.beta)
    return _filter.wiener(noisy, clean, similar, sigma, basis, window, bands.grid)


def _assemble(bands: _Bands, one_band: Callable[[Array], _filter.Sums]) -> Float[Array, "h w"]:
    """The weighted averages over all bands, whose search margins overlap."""

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def body(sums, start):
        def add(total, part):
            both = bands.rows(total, start) + part
            return jax.lax.dynamic_update_slice_in_dim(total, both, start, 0)

        return jax.tree.map(add, sums, one_band(start)), None

    zero = _filter.Sums(jnp.zeros_like(bands.image), jnp.zeros_like(bands.image))
    sums, _ = jax.lax.scan(body, match_varying(zero, bands.image), bands.starts)
    seen = sums.weight > 0
    return jnp.where(seen, sums.estimate / jnp.where(seen, sums.weight, 1), bands.image)


def _check_powers(**sizes: int | tuple[int, int]) -> None:
    for name, values in sizes.items():
        for n in values if isinstance(values, tuple) else (values,):
            if n < 1 or n & (n - 1):
                raise ValueError(f"`{name}` is {values}, expected powers of two")
