"""The tasks of `quality.py` by name.

- ct: head CT, 30 parallel views of Poisson counts, simulated from a grid twice as fine. One
  patient: validation slices lie in another slab, with a gap between.
- mri4, mri8: T1 brains, 8 coils, random lines with a calibration region, smooth phase, Gaussian
  noise, simulated from a finer grid. The maps are given, not estimated. Another scanner's patient
  validates. Images are compared as complex ones.
- deblur: photographs, circular convolution with camera shake, Gaussian noise.
- single-pixel-ORDER: photographs 64², 333 of 4096 Hadamard patterns in an order, Gaussian noise;
  single-pixel-variance-64 and -256 see less and more of each photograph.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from _quality.medical import cartesian_mri, sparse_view_ct
from _quality.photographs import deblurring, single_pixel
from _quality.shared import FULL, QUICK, Sizes, Task

__all__ = ["FULL", "ORDERS", "QUICK", "TASKS", "Sizes", "Task", "build"]

ORDERS = (
    "variance",
    "natural",
    "sequency",
    "cake_cutting",
    "russian_dolls",
    "total_variation",
    "random",
)

TASKS: Mapping[str, Callable[[Path, Sizes], Task]] = (
    {
        "ct": sparse_view_ct,
        "mri4": functools.partial(cartesian_mri, acceleration=4),
        "mri8": functools.partial(cartesian_mri, acceleration=8),
        "deblur": deblurring,
    }
    | {f"single-pixel-{order}": functools.partial(single_pixel, order=order) for order in ORDERS}
    | {
        f"single-pixel-variance-{side}": functools.partial(
            single_pixel, order="variance", side=side
        )
        for side in (64, 256)
    }
)


def build(name: str, folder: Path, sizes: Sizes) -> Task:
    """The task of a name in `TASKS`, from the data in `folder`."""
    return TASKS[name](folder, sizes)
