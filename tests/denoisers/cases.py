"""Every denoiser, small enough for the tests; adding one here puts it through all of them."""

from jaxrecon.functionals import L1
from jaxrecon.functionals import denoisers as dn

SMALL_BM3D = dn.BM3D(patch=4, step=2, search=4, group=(4, 8), block=30)

# On real images: each goes through every test of `test_denoisers`.
CASES = {
    "bm3d": SMALL_BM3D,
    "non-local means": dn.NonLocalMeans(patch=3, search=3),
    "bilateral": dn.Bilateral(search=2),
    "gaussian": dn.Gaussian(0.8, radius=2),
    "wiener": dn.Wiener(3),
    "median": dn.Median(3),
    "wavelet": dn.WaveletShrinkage(levels=1, spins=2),
    "dct": dn.DCTDenoiser(patch=4),
    "total variation": dn.total_variation(n_iter=30),
    "total generalised variation": dn.total_generalised_variation(n_iter=30),
    "prox": dn.ProxDenoiser(L1()),
    "equivariant": dn.Equivariant(dn.Wiener(3)),
    "tiled": dn.Tiled(dn.Wiener(3), (12, 12), margin=2, blend=3),
    "scaled": dn.Scaled(dn.Wiener(3)),
}

# Other settings, which go through the shorter ones.
VARIANTS = {
    "bm3d, limited": dn.BM3D(similarity=(0.1, 0.01), patch=4, step=3, search=3, group=(8, 2)),
    "median, sorted": dn.Median((7, 5)),
    "wavelet, universal": dn.WaveletShrinkage(rule="universal", name="haar", levels=2, spins=1),
    "wavelet, sure": dn.WaveletShrinkage(rule="sure", levels=1, spins=2),
    "dct, plain": dn.DCTDenoiser(patch=4, adaptive=False),
}

# D(c x, c σ) = c D(x, σ), unless a prior or a limit is in the image's units.
SCALE_COVARIANT = [n for n in CASES if n != "prox"]

# Not among the good: the image's own l1 norm as a prior, a window larger than the object, and on
# so small an image with so sharp an edge a linear blur and the universal threshold.
_POOR = ("prox", "median, sorted", "gaussian", "wavelet, universal")
GOOD = [n for n in CASES | VARIANTS if n not in _POOR]
