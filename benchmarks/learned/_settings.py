"""What the reconstruction networks are trained and judged on.

A `Setting` is tasks as `quality.py` knows them (an operator, validation scans that tune, test scans
that nothing is chosen by, in units where the operator has norm one and images are about [0, 1]) and
objects to train on, with a ``measure(key, object) -> (A, y, truth)`` that scans each anew.

- ellipses: 128², 30 views, Gaussian noise of 5 % of the mean line integral, the setting of Adler
  and Öktem (2018), but simulated from a grid twice as fine. Judged on other ellipses and, as there,
  on the modified Shepp-Logan head.
- head: slabs of one head CT, 60 views, 10⁴ photons, simulated from a grid twice as fine. Slices 0
  to 48 train, 53 to 57 validate, 63 to 96 test: one patient, 6 mm between the slabs.
- mri: 8 coils, random lines with a calibration region, smooth phase, simulated from a finer grid;
  trained at accelerations 4 and 8 in equal parts, with a mask for each example, on the studyforrest
  volume and the MNI average; Colin27 validates at 8; two patients test at 4, 8, 12 and 16.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _quality.medical import (
    BONE,
    FILTERED,
    MRI_NOISE,
    N_COILS,
    brains_task,
    ct_scan,
    fixed_lines,
    fourier_crop,
    head_attenuation,
    pyradiomics_brains,
    random_lines,
    squared,
    studyforrest,
    with_norm_one,
)
from _quality.shared import Scan, Sizes, Task, evenly, known_norm, stacked
from jaxtyping import Array

from jaxrecon import data
from jaxrecon.physics import ct, gaussian_noise
from jaxrecon.training.input import ArraySource, Augment

VIEWS, NOISE, N_HEADS, N_DRAWN = 30, 0.05, 3, 4096  # of the ellipses
HEAD_VIEWS, PHOTONS = 60, 1e4
TRAINED, TESTED = (4, 8), (8, 4, 12, 16)  # accelerations; the first tested one validates
AUGMENT = Augment(zoom=(0.85, 1.15), shift=8.0)


class Setting(NamedTuple):
    """Tasks of one kind of scan, the first of which validates, and what to train on."""

    tasks: tuple[Task, ...]
    objects: ArraySource
    measure: Callable[[Any, Any], tuple[Any, Array, Array]]


def build(name: str, folder: Path, sizes: Sizes) -> Setting:
    """The setting of a name in `SETTINGS`, from the data in `folder`."""
    return SETTINGS[name](folder, sizes)


# ---------------------------------------------------------------------------------------- ellipses


def ellipses(folder: Path, sizes: Sizes) -> Setting:
    """Drawn anew for every example; nothing is read."""
    del folder
    n = sizes.image
    angles = jnp.arange(VIEWS) * (np.pi / VIEWS)
    A = ct.parallel_beam(angles, (n, n), int(np.ceil(np.hypot(n, n))) + 1)
    A = with_norm_one(A, known_norm(A))
    measure = jax.jit(functools.partial(_measure_ellipses, A))
    keys = jax.random.split(jax.random.key(10), (3, max(sizes.n_test, sizes.n_validation)))
    groups = [
        stacked([_as_scan(*measure(key, None)) for key in some[:count]])
        for some, count in zip(keys, (sizes.n_validation, sizes.n_test))
    ]
    head = data.modified_shepp_logan(half_width=_half_width(A))
    scan = jax.jit(functools.partial(_scan_ellipses, A))
    heads = [_as_scan(*scan(key, head)) for key in keys[2, :N_HEADS]]
    facts = (
        f"{VIEWS} views over 180°, {A.n_bins} bins, simulated from {2 * n}², Gaussian noise of "
        f"{NOISE:.0%} of the mean line integral",
    )
    task = Task(
        name="ellipses",
        title=f"Ellipses {n}², {VIEWS} views, {NOISE:.0%} noise",
        operator=A,
        noise=NOISE * float(jnp.mean(jnp.abs(groups[0].data))),
        validation=groups[0],
        test=groups[1],
        direct=FILTERED,
        n_iter=12,
        facts=facts,
        positive=False,
    )
    shepp_logan = task._replace(
        name="shepp-logan",
        title=f"Shepp-Logan head {n}², {VIEWS} views, {NOISE:.0%} noise",
        test=stacked(heads),
        facts=(*facts, f"{N_HEADS} draws of the noise; all is tuned and trained on ellipses"),
    )
    seeds = ArraySource(x=np.zeros((N_DRAWN, 1), np.float32))
    return Setting((task, shepp_logan), seeds, measure)


def _half_width(A: ct.Parallel) -> float:
    return A.pixel * A.image_shape[0] / 2


def _measure_ellipses(A: ct.Parallel, key: Array, unused: Any) -> tuple[Any, Array, Array]:
    del unused
    key_phantom, key_noise = jax.random.split(key)
    phantom = data.random_ellipses(key_phantom, half_width=_half_width(A))
    return _scan_ellipses(A, key_noise, phantom)


def _scan_ellipses(A: ct.Parallel, key: Array, phantom: Any) -> tuple[Any, Array, Array]:
    """Of the part within the field of view alone: ellipses may reach out of it."""
    n, fine = A.image_shape[0], A.pixel / 2
    areas = data.area_average(phantom, (2 * n, 2 * n), pixel=fine, rows=2)
    rays = ct.parallel_beam(A.angles, areas.shape, 2 * A.n_bins, pixel=fine, bin_pitch=fine)
    clean = rays(areas).reshape(*A.range.shape, 2).mean(-1)
    noisy = gaussian_noise(key, clean, NOISE * jnp.mean(jnp.abs(clean)))
    return A, noisy, data.downsample(areas, 2)


@jax.jit
def _as_scan(A: ct.Parallel, y: Array, truth: Array) -> Scan:
    return Scan(y, None, ct.fbp(A, y, window="hann"), truth)


# -------------------------------------------------------------------------------------------- head


def head(folder: Path, sizes: Sizes) -> Setting:
    """One patient in three slabs."""
    fine, pixel = fine_head(folder, sizes)
    groups = tuple(jnp.asarray(fine[slab]) for slab in head_slabs(sizes)[1:])
    task, size = ct_task("head", groups, CTScanner(pixel))
    measure = functools.partial(_measure_head, CTScanner(pixel), size)
    return Setting((task,), ArraySource(x=fine[head_slabs(sizes)[0]]), measure)


def fine_head(folder: Path, sizes: Sizes) -> tuple[np.ndarray, float]:
    """The head CT in 1/mm with twice as many pixels as the images have, and their side in mm."""
    attenuation, pixel = head_attenuation(folder)
    factor = attenuation.shape[1] // (2 * sizes.image)
    if not factor:
        return np.repeat(np.repeat(attenuation, 2, 1), 2, 2), pixel / 2
    fine = jax.vmap(lambda x: data.downsample(x, factor))(jnp.asarray(attenuation))
    return np.asarray(fine), factor * pixel


def head_slabs(sizes: Sizes) -> tuple[list[int], list[int], list[int]]:
    """Slices to train, to validate and to test on."""
    return list(range(49)), evenly(53, 57, sizes.n_validation), evenly(63, 96, sizes.n_test)


class CTScanner(NamedTuple):
    """What scans a fine image."""

    pixel: float  # of the fine image, mm
    views: int = HEAD_VIEWS
    photons: float = PHOTONS
    arc: float = np.pi

    def __call__(self, key: Array, fine: Array) -> data.CTSimulation:
        """A scan."""
        dose = {"n_views": self.views, "photons": self.photons, "arc": self.arc}
        return data.simulate_ct(fine, self.pixel, key=key, **dose)


def ct_task(name: str, groups: Any, scanner: CTScanner) -> tuple[Task, float]:
    """Scans of fine images to validate and to test with, and the norm of their operator."""
    keys = jax.random.split(jax.random.key(11), (2, max(map(len, groups))))
    scan = jax.jit(lambda key, x: scanner(key, x))
    raw = [[scan(k, x) for k, x in zip(some, group)] for some, group in zip(keys, groups)]
    A = raw[1][0].operator
    size = known_norm(A)
    parts = [stacked([ct_scan(s, scanner.photons, size) for s in group]) for group in raw]
    task = Task(
        name=name,
        title=f"Head CT {A.image_shape[0]}², {scanner.views} views, {scanner.photons:g} photons",
        operator=with_norm_one(A, size),
        noise=1 / (np.sqrt(scanner.photons) * BONE * size),
        validation=parts[0],
        test=parts[1],
        direct=FILTERED,
        n_iter=12,
        facts=(*raw[1][0].facts, "one patient: slices 0-48 train, 53-57 tune, 63-96 test"),
    )
    return task, size


def _measure_head(
    scanner: CTScanner, size: float, key: Array, fine: Array
) -> tuple[Any, Array, Array]:
    key_augment, key_scan = jax.random.split(key)
    s = scanner(key_scan, AUGMENT(fine, key_augment))
    scan = ct_scan(s, scanner.photons, size)
    return with_norm_one(s.operator, size), scan.data, scan.truth


# --------------------------------------------------------------------------------------------- MRI


def brains(
    folder: Path,
    sizes: Sizes,
    trained: tuple[int, ...] = TRAINED,
    tested: tuple[int, ...] = TESTED,
    n_coils: int = N_COILS,
    fixed: bool = False,
) -> Setting:
    """Two volumes to train on, one to validate, two patients to test.

    `fixed` trains with the one mask that validates and tests, for each acceleration.
    """
    n = sizes.image
    fine = n * 3 // 2
    colin = axial(folder / "volumes/mr_t1_colin27_ch2.nii.gz")
    tune = [_prepared(colin[z], colin, fine) for z in evenly(60, 120, sizes.n_validation)]
    groups = tune, pyradiomics_brains(folder, fine, sizes.n_test)
    forrest = studyforrest(folder)
    mni = axial(folder / "volumes/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    objects = [_prepared(forrest[z], forrest[160:340], fine) for z in range(160, 340)]
    objects += [_prepared(mni[z], mni, fine) for z in range(40, 140, 2)]
    masks = jnp.stack([fixed_lines(n, r) for r in trained]) if fixed else None
    options: dict[str, Any] = {"shape": (n, n), "sigma": MRI_NOISE, "n_coils": n_coils}
    measure = functools.partial(_measure_brain, trained, masks, options)
    tasks = tuple(brains_task(groups, sizes, r, n_coils) for r in tested)
    return Setting(tasks, ArraySource(x=np.stack(objects)), measure)


def axial(path: Path) -> np.ndarray:
    """The slices of a NIfTI volume, upright."""
    import nibabel

    volume = np.asarray(nibabel.load(path).dataobj, np.float32)
    return np.stack([np.rot90(volume[:, :, z]) for z in range(volume.shape[2])])


def _prepared(image: np.ndarray, volume: np.ndarray, n: int) -> np.ndarray:
    return fourier_crop(squared(image), n) / np.float32(np.percentile(volume, 99.9))


def _measure_brain(
    accelerations: tuple[int, ...],
    masks: Array | None,
    options: dict[str, Any],
    key: Array,
    fine: Array,
) -> tuple[Any, Array, Array]:
    key_augment, key_scan, key_mask, key_rate = jax.random.split(key, 4)
    if masks is None:
        n = options["shape"][1]
        masks = jnp.stack([random_lines(key_mask, n, r) for r in accelerations])
    mask = masks[jax.random.randint(key_rate, (), 0, len(accelerations))]
    s = data.simulate_mri(AUGMENT(fine, key_augment), key=key_scan, mask=mask, **options)
    return s.operator, s.kspace, s.truth


SETTINGS = {"ellipses": ellipses, "head": head, "mri": brains}
