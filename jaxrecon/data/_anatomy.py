"""Real anatomy from the wheels of installed packages: a CT slice and a T1-weighted brain.

pydicom carries a head CT for its tests (`J2K_pixelrep_mismatch.dcm`: 512 × 512 pixels of 0.431 mm,
120 kV), nilearn the MNI152 template (ICBM 2009a, 1 mm, skull-stripped). The template is an average
of 152 people, not a patient: it is smoother than any brain. The extra ``jaxrecon[demo]`` installs
both. Nothing is downloaded.

Hounsfield units become attenuation by μ = μ_water (1 + HU/1000), at one energy: what a scanner
measures is a spectrum, so these are realistic values and not those of the patient.

Sources: Hubbell and Seltzer, "Tables of X-ray mass attenuation coefficients", NIST SRD 126 (water:
0.2059 cm²/g at 60 keV, 0.1837 at 80, hence 0.193 at 70); Fonov et al., "Unbiased average
age-appropriate brain templates from birth to adulthood", NeuroImage 47 (2009).
"""

import importlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MU_WATER = 0.0193
"""Attenuation of water near 70 keV, the mean energy of a filtered 120 kV beam, in 1/mm."""

_CT_FILE = "data/test_files/J2K_pixelrep_mismatch.dcm"
_T1_FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
# Outside the body and in the sinuses readings scatter around −1000 HU; nothing solid is below this.
_AIR = -900.0


class Anatomy(NamedTuple):
    """An image or a volume with its scale and where it comes from."""

    values: Float[Array, "*image"]
    pixel: float
    """Side of a pixel or voxel in mm; they are square."""
    source: str


def ct_slice(*, mu_water: float = MU_WATER) -> Anatomy:
    """An axial slice of a head at the skull base, as attenuation in 1/mm; zero in air.

    The nose points up, and the patient's right is on the left, as radiologists look at it.

    Args:
        mu_water: attenuation of water in 1/mm, which fixes the scale.

    Returns:
        (512, 512) values, of pixels of 0.431 mm.

    Raises:
        ImportError: pydicom, pillow or the file is missing; the message says what to install.

    Example:
        >>> head = ct_slice()
        >>> head.values.shape, head.pixel, float(head.values.min())
        ((512, 512), 0.431, 0.0)
    """
    path = _packaged("pydicom", _CT_FILE)
    pydicom = _library("pydicom")
    _library("PIL")  # decodes JPEG 2000
    with warnings.catch_warnings():
        # The file is in pydicom's tests because its header and its pixels disagree on the sign.
        warnings.simplefilter("ignore", UserWarning)
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
    hounsfield = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    # −2000 marks what the scanner did not reconstruct: air.
    attenuation = np.where(hounsfield < _AIR, 0, mu_water * (1 + hounsfield / 1000))
    return Anatomy(
        jnp.asarray(attenuation.astype(np.float32)),
        float(dataset.PixelSpacing[0]),
        f"head CT, {dataset.KVP:g} kV, from pydicom's wheel ({path.name}); water = {mu_water:g}/mm",
    )


def t1_volume() -> Anatomy:
    """The MNI152 T1-weighted template, largest value 1, background 0.

    Axes are (z, y, x) with z upwards from the feet, y from the front to the back and x from the
    patient's right to the left, so that every slice `values[z]` has the nose up and the patient's
    right on the left: the radiological convention.

    Returns:
        (189, 233, 197) values, of voxels of 1 mm.

    Raises:
        ImportError: nibabel, nilearn or the file is missing; the message says what to install.

    Example:
        >>> brain = t1_volume()
        >>> brain.values.shape, brain.pixel, float(brain.values.max())
        ((189, 233, 197), 1.0, 1.0)
    """
    path = _packaged("nilearn", _T1_FILE)
    nibabel = _library("nibabel")
    nifti = nibabel.load(path)
    reorient = nibabel.orientations
    turn = reorient.ornt_transform(
        reorient.io_orientation(nifti.affine), reorient.axcodes2ornt(("L", "P", "S"))
    )
    nifti = nifti.as_reoriented(turn)
    values = np.transpose(np.asarray(nifti.dataobj, np.float32))
    return Anatomy(
        jnp.asarray(values / values.max()),
        float(nifti.header.get_zooms()[0]),
        f"T1-weighted average of 152 brains (MNI152) from nilearn's wheel ({path.name})",
    )


def t1_slice(index: int = 82, *, shape: tuple[int, int] = (224, 192)) -> Anatomy:
    """An axial slice of the MNI152 T1-weighted template, nose up, patient's right on the left.

    Args:
        index: of the slice, from the feet upwards; 82 cuts the ventricles and the thalamus.
        shape: rows and columns of the middle part; the brain itself fills 181 × 145.

    Returns:
        Values with the volume's maximum 1 and background 0, of pixels of 1 mm.

    Raises:
        ImportError: nibabel, nilearn or the file is missing; the message says what to install.
        ValueError: `index` or `shape` is beyond the volume.

    Example:
        >>> brain = t1_slice()
        >>> brain.values.shape, brain.pixel
        ((224, 192), 1.0)
    """
    volume = t1_volume()
    n, *full = volume.values.shape
    if not 0 <= index < n:
        raise ValueError(f"`index` is {index}; expected 0 to {n - 1}")
    if len(shape) != 2 or any(not 0 < m <= size for m, size in zip(shape, full, strict=True)):
        raise ValueError(f"`shape` is {shape}; expected at most {tuple(full)}")
    first = [(size - m) // 2 for m, size in zip(shape, full, strict=True)]
    rows, columns = (slice(start, start + m) for start, m in zip(first, shape, strict=True))
    values = volume.values[index, rows, columns]
    return volume._replace(values=values, source=f"axial slice {index} of the {volume.source}")


def downsample(values: Float[Array, "*fine"], factor: int) -> Float[Array, "*coarse"]:
    """Area (or volume) average of blocks of `factor` pixels along every axis.

    Args:
        values: an image or a volume whose sides are multiples of `factor`.
        factor: fine pixels in a coarse one, along each axis.

    Raises:
        ValueError: a side is not a multiple of `factor`.

    Example:
        >>> downsample(jnp.array([[1.0, 2.0, 5.0, 5.0], [3.0, 2.0, 5.0, 5.0]]), 2).tolist()
        [[2.0, 5.0]]
    """
    if factor < 1 or any(n % factor for n in values.shape):
        raise ValueError(
            f"`factor` is {factor} and `values` has shape {values.shape}; expected a factor of "
            "every side: crop or pad the image first"
        )
    blocks = [m for n in values.shape for m in (n // factor, factor)]
    return values.reshape(blocks).mean(tuple(range(1, 2 * values.ndim, 2)))


def _packaged(package: str, name: str) -> Path:
    """A file inside an installed package, which is not imported.

    Raises:
        ImportError: the package is not installed, or its version does not carry the file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise _missing(f"the example anatomy is inside {package}, which is not installed")
    path = Path(spec.origin).parent / name
    if not path.is_file():
        raise _missing(f"the installed {package} does not carry {name}")
    return path


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(f"the example anatomy needs {name}, which is not installed") from error


def _missing(reason: str) -> ImportError:
    return ImportError(f'{reason}: pip install "jaxrecon[demo]"')
