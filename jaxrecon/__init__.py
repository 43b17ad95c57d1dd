"""jaxrecon: differentiable-physics image reconstruction from raw sensor data in JAX.

A scan is a pytree, a forward model is a pure linear map on pytrees, and an algorithm is a step.
Folders are the public import paths: ``from jaxrecon.physics import ct``, ``from jaxrecon import
solvers``. Importing them changes no global state.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
