"""Every operator of the library, as factories of tiny instances by real dtype.

To add an operator, add a factory; `test_operators.py` does the rest.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon import core
from jaxrecon.functionals import priors, wavelet
from jaxrecon.physics import ct, mri, nufft, optics

# Relative errors of NUFFTs: loose where only exact adjointness counts, since wide kernels compile
# slowly; tight where derivatives are compared with differences.
EPS = {"float32": 1e-3, "float64": 1e-9}


def struct(shape, real, complex_values=False):
    dtype = jnp.result_type(real, jnp.complex64) if complex_values else jnp.dtype(real)
    return jax.ShapeDtypeStruct(shape, dtype)


def normal(shape, real, complex_values=False):
    """The same numbers for the same shape, from the host: nothing to compile."""
    draw = np.random.default_rng(3)
    values = draw.standard_normal(shape)
    if complex_values:
        values = values + 1j * draw.standard_normal(shape)
    return jnp.asarray(values, struct(shape, real, complex_values).dtype)


def _function(parameters, x):
    return parameters * jnp.cumsum(x, 0)


def _stacked(real):
    first = core.diagonal(normal((4, 5), real), struct((4, 5), real))
    return core.stack([first, core.gradient(struct((4, 5), real))])


def _composed(real):
    inner = core.pad(struct((4, 5), real), (6, 6))
    outer = core.diagonal(normal((6, 6), real, True), struct((6, 6), real))
    return (2.0 - 0.5j) * (outer @ inner) + outer @ inner


def _fourier_parallel(real, bin_pitch=0.9, **models):
    return ct.parallel_beam(
        normal((5,), real),
        (6, 7),
        9,
        bin_pitch=bin_pitch,
        offset=0.2,
        method="fourier",
        eps=EPS[jnp.dtype(real).name],
        backend="dft",
        **models,
    )


def _nufft(real, shape, n_points, batch=(), **options):
    points = normal((n_points, len(shape)), real) * (jnp.asarray(shape, real) / 4)
    return nufft.nufft(points, shape, batch=batch, eps=EPS[jnp.dtype(real).name], **options)


def _blur(real, shape, kernel, padding="circular", complex_values=(False, False), **options):
    kernel = normal(kernel, real, complex_values[0])
    return optics.blur(kernel, struct(shape, real, complex_values[1]), padding, **options)


def _varying(real, padding, **options):
    weights = optics.partition_of_unity((6, 5), (2, 1), dtype=jnp.dtype(real))
    return optics.space_varying_blur(
        normal((2, 3, 2), real), weights, struct((6, 5), real), padding, **options
    )


OPTICS = {
    "blur": lambda r: _blur(r, (6, 5), (3, 4)),
    "blur gram": lambda r: _blur(r, (5, 4), (3, 3)).gram,
    "blur, spatial": lambda r: _blur(r, (5, 6), (3, 2), method="spatial"),
    "blur, complex": lambda r: _blur(r, (5, 4), (2, 3), complex_values=(True, True), method="fft"),
    "blur, complex kernel": lambda r: _blur(
        r, (5, 4), (2, 3), complex_values=(True, False), method="fft"
    ),
    "blur, complex image": lambda r: _blur(r, (5, 4), (3, 3), "zero", (False, True), method="fft"),
    "blur, volume": lambda r: _blur(r, (3, 4, 5), (3, 2, 3), "reflect", method="fft"),
    "blur, colours": lambda r: _blur(r, (2, 5, 4), (3, 3), "symmetric", axes=(1, 2)),
    "blur, a kernel each": lambda r: _blur(r, (2, 5, 4), (2, 3, 3), axes=(1, 2), method="fft"),
    "blur, valid": lambda r: _blur(r, (6, 5), (3, 2), "valid", method="fft"),
    "blur, valid, spatial": lambda r: _blur(r, (6, 5), (3, 2), "valid", (True, True)),
    "blur, replicate": lambda r: _blur(r, (6, 5), (4, 3), "replicate", method="fft"),
    "space-varying blur": lambda r: _varying(r, "circular", method="fft"),
    "space-varying blur, spatial": lambda r: _varying(r, "reflect"),
    "space-varying blur, valid": lambda r: _varying(r, "valid", method="fft"),
    "downsample": lambda r: optics.downsample(struct((6, 8), r), 2, normal((3, 4), r)),
    "downsample, inverse": lambda r: optics.downsample(
        struct((6, 4), r), (3, 2), normal((3, 3), r)
    ).shifted_inverse(0.5),
    "downsample, uneven": lambda r: optics.downsample(
        struct((7, 5), r, True), (3, 2), "box", "replicate", offset=0
    ),
    "inpaint": lambda r: optics.inpaint(normal((4, 5), r) > 0, struct((2, 4, 5), r, True)),
    "mosaic": lambda r: optics.mosaic(struct((3, 5, 4), r)),
    "mosaic, weights": lambda r: optics.mosaic(struct((2, 4, 5), r, True), normal((2, 4, 5), r)),
    "hadamard": lambda r: optics.hadamard(struct((8, 4), r)),
    "hadamard, complex": lambda r: optics.hadamard(struct((2, 4), r, True)),
    "single pixel": lambda r: optics.single_pixel(struct((8, 4), r), 10),
    "single pixel, split": lambda r: optics.single_pixel(
        struct((4, 8), r), 7, "total_variation", patterns="split"
    ),
    "coded diffraction": lambda r: optics.coded_diffraction(normal((2, 4, 5), r, True)),
    "transmission": lambda r: optics.transmission(
        normal((7, 12), r, True), struct((4, 3), r, True)
    ),
    "transmission of a real image": lambda r: optics.transmission(
        normal((7, 12), r, True), struct((4, 3), r)
    ),
    "ptychography": lambda r: optics.ptychography(
        normal((3, 2), r, True),
        jnp.array([[0, 0], [1, 2], [3, 1], [1, 1]]),
        struct((6, 5), r, True),
    ),
    "amplitude, linearised": lambda r: optics.amplitude(
        core.fft(struct((4, 3), r, True))
    ).linearise(normal((4, 3), r, True))[1],
}

PRIORS = {
    "circulant": lambda r: core.Circulant(jnp.abs(normal((4, 1), r)), struct((4, 5), r, True)),
    "component": lambda r: core.component((struct((2, 3), r), struct((4,), r, True)), 1),
    "symmetric gradient": lambda r: priors.symmetric_gradient(
        struct((3, 4), r), spacing=(0.5, 2.0)
    ),
    "symmetric gradient 3D": lambda r: priors.symmetric_gradient(struct((2, 3, 4), r, True)),
    "symmetric gradient, two axes": lambda r: priors.symmetric_gradient(
        struct((3, 2, 4), r), (0, 2)
    ),
    "tgv edges": lambda r: priors.tgv_terms(struct((3, 4), r), 1.0, 2.0)[0][1],
    "tgv kinks": lambda r: priors.tgv_terms(struct((3, 4), r, True), 1.0, 2.0)[1][1],
    "undecimated": lambda r: priors.undecimated_wavelet(struct((5, 4), r), "db2", levels=2),
    "undecimated 3D": lambda r: priors.undecimated_wavelet(
        struct((3, 2, 4), r, True), "sym2", levels=1
    ),
    "dct": lambda r: priors.dct(struct((5, 4), r)),
    "dct blocks": lambda r: priors.dct(struct((6, 3, 4), r, True), (0, 2), block=(3, 4)),
}

OPERATORS = {
    "identity": lambda r: core.identity((struct((3, 4), r), struct((2,), r, True))),
    "diagonal real": lambda r: core.diagonal(normal((4, 5), r), struct((4, 5), r)),
    "diagonal complex": lambda r: core.diagonal(normal((4, 5), r, True), struct((4, 5), r, True)),
    "diagonal complex on real": lambda r: core.diagonal(normal((5,), r, True), struct((4, 5), r)),
    "mask": lambda r: core.diagonal(normal((4, 5), r) > 0, struct((4, 5), r, True)),
    "fft": lambda r: core.fft(struct((4, 5), r, True)),
    "fft of real, one axis": lambda r: core.fft(struct((4, 5), r), (1,)),
    "pad": lambda r: core.pad(struct((4, 5), r), (7, 6)),
    "crop": lambda r: core.crop(struct((7, 6), r, True), (4, 5)),
    "gradient": lambda r: core.gradient(struct((4, 5), r), spacing=(0.5, 2.0)),
    "gradient periodic": lambda r: core.gradient(
        struct((3, 4, 5), r, True), (0, 2), boundary="periodic"
    ),
    "from function": lambda r: core.from_function(
        _function, struct((4, 5), r, True), normal((5,), r, True)
    ),
    "composed, scaled, added": _composed,
    "stacked": _stacked,
    "block diagonal": lambda r: core.block_diagonal([_composed(r), _stacked(r)]),
    "haar": lambda r: wavelet(struct((8, 4), r), "haar", levels=2),
    "db3 padded": lambda r: wavelet(struct((7, 5), r, True), "db3", levels=1),
    "parallel": lambda r: ct.parallel_beam(normal((5,), r), (6, 7), 9, bin_pitch=0.9, offset=0.2),
    "parallel, fourier": _fourier_parallel,
    "parallel, fourier, approximate gram": lambda r: _fourier_parallel(r).approximate_gram(),
    "parallel, fourier, squares": lambda r: _fourier_parallel(
        r, bin_pitch=2.3, pixel_model="square", bin_model="point"
    ),
    "fan": lambda r: ct.fan_beam(
        jnp.linspace(0.1, 5.2, 5, dtype=r),  # no ray along a row of pixel centres: a kink
        (6, 7),
        9,
        source_origin=20.0,
        origin_detector=10.0,
        pixel=0.8,
    ),
    "sense": lambda r: mri.sense(normal((3, 4, 5), r, True), normal((4, 5), r) > 0),
    "sense, soft mask": lambda r: mri.sense(normal((2, 4, 5), r, True), normal((4, 5), r)),
    "sense, lines, two sets": lambda r: mri.sense(
        normal((2, 3, 4, 5), r, True), normal((1, 5), r) > 0
    ),
    "sense, volume": lambda r: mri.sense(normal((2, 2, 3, 4), r, True), normal((2, 3, 4), r) > 0),
    "sense gram": lambda r: mri.sense(normal((3, 4, 5), r, True), normal((4, 5), r)).gram,
    "nufft": lambda r: _nufft(r, (6, 5), 9, backend="xla"),
    "nufft 1D": lambda r: _nufft(r, (7,), 9, backend="xla"),
    "nufft 3D": lambda r: _nufft(r, (4, 3, 5), 9, backend="xla"),
    "nufft of coils": lambda r: _nufft(r, (4, 5), 9, (3,), backend="xla"),
    "nufft, dft": lambda r: _nufft(r, (4, 5), 9, (2,), backend="dft"),
    "nufft gram": lambda r: _nufft(r, (4, 5), 9, (2,), backend="xla").gram,
    "non-Cartesian sense": lambda r: mri.noncartesian_sense(
        normal((2, 4, 5), r, True), normal((3, 4, 2), r), eps=EPS[jnp.dtype(r).name], backend="xla"
    ),
    "coil maps, two sets": lambda r: mri.coils(normal((2, 3, 4, 5), r, True), 2),
    "cartesian": lambda r: mri.cartesian(normal((4, 5), r) > 0, dtype=struct((), r, True).dtype),
    **PRIORS,
    **OPTICS,
}


@functools.cache
def build(name: str, real: str) -> Any:
    """The operator of that name, built once for all its tests."""
    return OPERATORS[name](real)
