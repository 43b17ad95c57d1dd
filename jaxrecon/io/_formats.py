"""Encoders of images, one a format: each writes its file(s) and says what it did.

Images are (y, x) or (z, y, x) with row 0 on top. Formats that cannot hold complex numbers get the
magnitude (`write` sees to that); PNG and DICOM hold integers, so they refuse values that are not
finite. The files come from a raw scan that does not know how the patient lay: orientation is
nominal, and nothing here is for diagnostic use.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxrecon.io._bart import N_DIMENSIONS, SLICE, header_text, pair
from jaxrecon.io._fields import library
from jaxrecon.io._scan import refuse

_NOT_DIAGNOSTIC = "Reconstructed by jaxrecon. Not for diagnostic use."
_PERCENTILES = (0.1, 99.9)
_SC_GRAYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"  # multi-frame, rescale free: PS3.3 A.8.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """What an encoder is given: values, spacing (mm, one an axis), window, bits and the record."""

    image: np.ndarray
    spacing: tuple[float, ...] | None
    window: tuple[float, float] | None
    bits: int
    record: str

    def stack(self) -> np.ndarray:
        """The image as float32 (z, y, x)."""
        image = self.image.astype(np.float32)
        return image if image.ndim == 3 else image[None]

    def spacing_zyx(self) -> tuple[float, float, float]:
        """Spacing of z, y, x in mm; 1 where it is unknown."""
        known = self.spacing or ()
        z, y, x = (1.0,) * (3 - len(known)) + tuple(known)
        return z, y, x

    def shown(self) -> tuple[float, float]:
        """The window, or the central 99.8 % of the values; never empty."""
        low, high = self.window or (float(v) for v in np.percentile(self.image, _PERCENTILES))
        return low, high if high > low else low + 1.0


Notes = dict[str, Any]
Encoder = Callable[[pathlib.Path, Picture], Notes]


def npz(file: pathlib.Path, picture: Picture) -> Notes:
    """The array `image` as it is, the record as a string, the spacing where it is known."""
    arrays = {"image": picture.image, "provenance": np.array(picture.record)}
    if picture.spacing is not None:
        arrays["spacing_mm"] = np.array(picture.spacing)
    with file.open("wb") as out:
        np.savez(out, **arrays)  # type: ignore[arg-type]
    return {}


def cfl(file: pathlib.Path, picture: Picture) -> Notes:
    """BART: dimension 0 is y, 1 is x, 13 the slices, as `read` takes them."""
    image = picture.image.astype(np.complex64)
    header, data = pair(file)
    n_z, n_y, n_x = (1,) * (3 - image.ndim) + image.shape
    shape = [1] * N_DIMENSIONS
    shape[0], shape[1], shape[SLICE] = n_y, n_x, n_z
    data.write_bytes(np.moveaxis(image.reshape(n_z, n_y, n_x), 0, -1).tobytes(order="F"))
    header.write_text(header_text(tuple(shape)), encoding="ascii")
    return {"axes": "dimension 0 is y, 1 is x, 13 is z"}


def png(file: pathlib.Path, picture: Picture) -> Notes:
    """Grey values of the window, 8 or 16 bits; slices side by side."""
    _refuse_not_finite(file, picture)
    low, high = picture.shown()
    top = 2**picture.bits - 1
    grey = np.clip((picture.stack().astype(np.float64) - low) / (high - low), 0, 1)
    pixels = np.rint(_montage(grey) * top).astype(np.uint8 if picture.bits == 8 else np.uint16)
    text = library(file, "PIL.PngImagePlugin").PngInfo()
    text.add_text("provenance", picture.record)
    library(file, "PIL.Image").fromarray(pixels).save(file, format="PNG", pnginfo=text)
    return {"window": [low, high], "bits": picture.bits}


def nifti(file: pathlib.Path, picture: Picture) -> Notes:
    """float32 with axes (x, y, z); the affine takes x to the left, y to the back, as DICOM."""
    nib = library(file, "nibabel")
    z, y, x = picture.spacing_zyx()
    volume = nib.Nifti1Image(picture.stack().transpose(2, 1, 0), np.diag([-x, -y, z, 1.0]))
    volume.header.set_xyzt_units("mm" if picture.spacing else "unknown")
    volume.header["descrip"] = _NOT_DIAGNOSTIC.encode()
    comment = nib.nifti1.Nifti1Extension("comment", picture.record.encode())
    volume.header.extensions.append(comment)
    nib.save(volume, file)
    return {"orientation": "nominal: x to the left, y to the back; the scan does not say"}


def tiff(file: pathlib.Path, picture: Picture) -> Notes:
    """float32, one page a slice."""
    _, y, x = picture.spacing_zyx()
    library(file, "tifffile").imwrite(
        file,
        picture.stack() if picture.image.ndim == 3 else picture.stack()[0],
        photometric="minisblack",
        metadata={"axes": "ZYX"[-picture.image.ndim :], "provenance": picture.record},
        resolution=(10 / x, 10 / y) if picture.spacing else None,
        resolutionunit="CENTIMETER" if picture.spacing else None,
    )
    return {}


def dicom(file: pathlib.Path, picture: Picture) -> Notes:
    """Multi-frame greyscale secondary capture: 16 bits with rescale slope and intercept."""
    _refuse_not_finite(file, picture)
    stack = picture.stack().astype(np.float64)
    low, high = float(stack.min()), float(stack.max())
    slope = (high - low) / 65535 or 1.0
    pydicom = library(file, "pydicom")
    number = pydicom.valuerep.DSfloat
    data = _dicom_frame(pydicom)
    data.NumberOfFrames, data.Rows, data.Columns = stack.shape
    data.FrameIncrementPointer = pydicom.tag.Tag("PageNumberVector")
    data.PageNumberVector = list(range(1, len(stack) + 1))
    data.RescaleIntercept = number(low, auto_format=True)
    data.RescaleSlope = number(slope, auto_format=True)
    data.RescaleType = "US"
    shown = picture.shown()
    data.WindowCenter = number(sum(shown) / 2, auto_format=True)
    data.WindowWidth = number(shown[1] - shown[0], auto_format=True)
    if picture.spacing:
        data.PixelSpacing = [number(s, auto_format=True) for s in picture.spacing_zyx()[1:]]
        data.NominalScannedPixelSpacing = data.PixelSpacing
    exact = float(data.RescaleSlope), float(data.RescaleIntercept)
    stored = np.clip(np.rint((stack - exact[1]) / exact[0]), 0, 65535)
    data.PixelData = stored.astype("<u2").tobytes()
    data.save_as(file, enforce_file_format=True)
    return {"rescale": {"slope": exact[0], "intercept": exact[1]}, "window": list(shown)}


def _dicom_frame(pydicom: Any) -> Any:
    """Everything of the object that does not depend on the image."""
    import datetime

    uid, now = pydicom.uid.generate_uid, datetime.datetime.now()
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = _SC_GRAYSCALE_WORD, uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(), uid()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID = "Unknown^Unknown", "unknown"
    data.PatientBirthDate = data.PatientSex = data.ReferringPhysicianName = ""
    data.StudyID = data.AccessionNumber = ""
    data.StudyDate = data.ContentDate = now.strftime("%Y%m%d")
    data.StudyTime = data.ContentTime = now.strftime("%H%M%S")
    data.Modality, data.ConversionType = "OT", "WSD"
    data.SeriesNumber = data.InstanceNumber = 1
    data.PatientOrientation = ""
    data.Manufacturer = "jaxrecon"
    data.SeriesDescription = "NOT FOR DIAGNOSTIC USE"
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.ImageComments = data.DerivationDescription = _NOT_DIAGNOSTIC
    data.BurnedInAnnotation, data.LossyImageCompression = "NO", "00"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PresentationLUTShape = "IDENTITY"
    return data


def _montage(stack: np.ndarray) -> np.ndarray:
    """Slices in a grid, row by row, as square as possible; empty places are 0."""
    n, n_y, n_x = stack.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.zeros((rows * columns, n_y, n_x), stack.dtype)
    grid[:n] = stack
    tiles = grid.reshape(rows, columns, n_y, n_x).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * n_y, columns * n_x)


def _refuse_not_finite(file: pathlib.Path, picture: Picture) -> None:
    if n := int((~np.isfinite(picture.image)).sum()):
        refuse(
            file.name,
            "image",
            f"{n} of {picture.image.size} values are not finite, which {file.suffix} cannot hold; "
            ".npz can",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """An encoder, whether it holds complex numbers, and the library it needs ("" for numpy)."""

    encode: Encoder
    is_complex: bool = False
    needs: str = ""


FORMATS = {
    ".npz": Format(encode=npz, is_complex=True),
    ".cfl": Format(encode=cfl, is_complex=True),
    ".hdr": Format(encode=cfl, is_complex=True),
    ".png": Format(encode=png, needs="PIL.Image"),
    ".nii.gz": Format(encode=nifti, needs="nibabel"),
    ".nii": Format(encode=nifti, needs="nibabel"),
    ".tif": Format(encode=tiff, needs="tifffile"),
    ".tiff": Format(encode=tiff, needs="tifffile"),
    ".dcm": Format(encode=dicom, needs="pydicom"),
}
