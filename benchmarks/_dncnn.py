"""DnCNN (Zhang, Zuo, Chen, Meng and Zhang, IEEE Trans. Image Process. 26, 2017) with given weights.

For comparisons only: its weights are other people's. A plain chain of 3×3 convolutions with ReLU
between them, which predicts the noise of images in [0, 1]; the first layer may see a second
channel, a map of sigma (then the last may have a second one, which is not used).
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrecon.core import pytree


@pytree
class Dncnn:
    """D(x, sigma) on real images ``(y, x)``; blind to sigma where its weights are."""

    kernels: tuple[Array, ...]  # (3, 3, in, out) each
    biases: tuple[Array, ...]

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The image less the noise that the network sees in it."""
        layers = [x, jnp.full_like(x, sigma)][: self.kernels[0].shape[2]]
        features = jnp.stack(layers, -1)[None]
        last = len(self.kernels) - 1
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            features = jax.lax.conv_general_dilated(
                features, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            features = features + bias if i == last else jax.nn.relu(features + bias)
        return x - features[0, ..., 0]


def load_dncnn(path: str | Path) -> Dncnn:
    """The network of an `.npz` file of kernels w00, w01, … (HWIO) and biases b00, b01 and so on."""
    with np.load(path) as file:
        names = sorted(n for n in file.files if n.startswith("w"))
        kernels = tuple(jnp.asarray(file[n]) for n in names)
        return Dncnn(kernels, tuple(jnp.asarray(file["b" + n[1:]]) for n in names))
