"""Density compensation: the area of k-space that each sample stands for.

Weights w_j are areas (volumes in 3D) in cycles per field of view, so that sums are integrals over
k-space. With the orthonormal scaling of `NUFFT` nothing else is needed:

    (AᴴWA)_{mn} = (1/ΠN) Σ_j w_j exp(2πi k_j·(m−n)/N) ≈ (1/ΠN) ∫ exp(2πi k·(m−n)/N) dk = δ_{mn}  (1)

where samples cover all of k-space; AᴴWy is the image in its own scale. Σ_j w_j is the area covered:
ΠN for the whole box −N/2 ... N/2 (w = 1 on a Cartesian grid), πN²/4 for a disc, of which (1) leaves
a low-pass filter with gain 1. All functions here return such weights and can be exchanged:

    `pipe_density`     any trajectory, by a few transforms; differentiable
    `voronoi_density`  any trajectory, by geometry, on the host
    `radial_density`   spokes, in closed form
    `spiral_density`   interleaved spirals, in closed form

They differ where sampling ends: the analytic ones count half of the last spacing beyond the last
sample, Voronoi's cells end half a cycle per field of view beyond the samples' hull, and Pipe's
weights grow there, to fill the void as well; at the centre of spokes, where the ramp has a kink and
areas are not the best weights of a sum (`radial_density`); and where samples are too far apart,
where Pipe's weights are smaller than areas.
"""

from jaxrecon.physics.nufft.density._analytic import radial_density, spiral_density
from jaxrecon.physics.nufft.density._pipe import pipe_density
from jaxrecon.physics.nufft.density._voronoi import voronoi_density

__all__ = ["pipe_density", "radial_density", "spiral_density", "voronoi_density"]
