"""Names of array roles, one axis order each, for signatures that are checked while tests run.

Equal axis names within one signature mean equal lengths: ``def f(maps: CoilMaps, image: Image)``
says that the maps are as large as the image. `Float` is real, `Complex` complex, `Inexact` either,
each in any precision. Axes: z, y, x grow with the index; x is the column. Units are DESIGN's: CT
attenuation in 1/mm, line integrals dimensionless, angles in radians, trajectories in cycles per
field of view.

Operators that take any number of spatial axes spell their shapes out instead.
"""

from jaxtyping import Array, Bool, Complex, Float, Inexact

Image = Inexact[Array, "y x"]
"""One slice, real or complex."""

RealImage = Float[Array, "y x"]
"""One real slice: attenuation, activity, a magnitude."""

ComplexImage = Complex[Array, "y x"]
"""One complex slice: transverse magnetisation."""

Volume = Inexact[Array, "z y x"]
"""A stack of slices, real or complex."""

Mask = Bool[Array, "y x"]
"""A region of an image, or the sampled points of Cartesian k-space: True is inside or sampled."""

VolumeMask = Bool[Array, "z y x"]
"""A region of a volume, or the sampled points of its k-space."""

Sinogram = Float[Array, "view bin"]
"""Line integrals (or statistical weights) of one slice: a row for each view."""

Projections = Float[Array, "view row column"]
"""Line integrals on a flat two-dimensional detector, rows along +z."""

Angles = Float[Array, " view"]
"""One angle for each view, in radians."""

CoilMaps = Complex[Array, "coil y x"]
"""Receive sensitivities of one slice."""

CoilImages = Complex[Array, "coil y x"]
"""What each coil sees of one slice."""

KSpace = Complex[Array, "coil y x"]
"""Cartesian k-space of one slice, the origin at index N//2; zero where it was not sampled."""

VolumeKSpace = Complex[Array, "coil z y x"]
"""Cartesian k-space of a volume, the origin at index N//2."""

Samples = Complex[Array, "coil sample"]
"""k-space along a trajectory, readouts one after the other."""

Trajectory = Float[Array, "sample axis"]
"""k-space coordinates in cycles per field of view, the last axis in the image's order: (ky, kx)."""

Density = Float[Array, " sample"]
"""Density compensation: the area of k-space that each sample stands for."""
