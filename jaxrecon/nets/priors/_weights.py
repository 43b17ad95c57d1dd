"""Other people's denoisers: DnCNN weights of KAIR and SCICO, as plain arrays.

An `.npz` file with a kernel ``w00``, ``w01``, ... ``(y, x, in, out)`` and a bias ``b00``, ... of
each convolution, ReLU between them, for images in [0, 1]. The chain estimates the noise. With two
input channels the second is a map of sigma (SCICO's "N" networks, whose second output is not used).

DnCNN: Zhang, Zuo, Chen, Meng and Zhang, IEEE Trans. Image Process. 26, 2017. KAIR: Zhang, MIT
licence. SCICO: Balke et al., J. Open Source Softw. 7, 2022, BSD licence.
"""

import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.nets.images import DnCNN
from jaxrecon.nets.priors._image import ImageDenoiser


def read_dncnn(path: str | Path) -> ImageDenoiser:
    """The denoiser of a file of DnCNN weights; see the module's text for its format.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken, or its arrays are not those of such a network; the message
            names the file and the array.
    """
    layers = _layers(_arrays(Path(path)), path)
    n_in, width, depth = layers[0][0].shape[2], layers[0][0].shape[3], len(layers)
    net = nnx.eval_shape(lambda: DnCNN(n_in, 1, width=width, depth=depth, rngs=nnx.Rngs(0)))
    convs: list[Any] = [net.first, *net.convs, net.last]
    for conv, (kernel, bias) in zip(convs, layers, strict=True):
        n_out = conv.bias.shape[0]
        conv.inner.kernel = nnx.Param(jnp.asarray(kernel[..., :n_out]))
        conv.inner.bias = nnx.Param(jnp.asarray(bias[:n_out]))
    return ImageDenoiser(net, noise_map=n_in == 2)


def _arrays(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it holds one array without a name")
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a readable .npz file ({error}); expected arrays w00, b00, w01, ..."
        ) from error


def _layers(arrays: dict[str, Any], path: str | Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each convolution, checked."""
    depth = len(arrays) // 2
    names = [(f"w{i:02d}", f"b{i:02d}") for i in range(depth)]
    wrong = set(arrays) ^ {name for pair in names for name in pair}
    if wrong or depth < 2:
        raise ValueError(
            f"{path}: has the arrays {sorted(arrays)}, expected w00, b00, ... of at least two "
            f"convolutions (missing or unknown: {sorted(wrong)})"
        )
    layers = [(arrays[w], arrays[b]) for w, b in names]
    width = layers[0][1].size
    n_in = layers[0][0].shape[2] if layers[0][0].ndim == 4 else 0
    inputs = [n_in, *[width] * (depth - 1)]
    for (w, b), (kernel, bias), n in zip(names, layers, inputs, strict=True):
        last = w == names[-1][0]
        n_out = bias.size if last else width
        _expect(path, w, kernel, (3, 3, n, n_out))
        _expect(path, b, bias, (n_out,))
    if n_in not in (1, 2) or not 1 <= layers[-1][1].size <= n_in:
        raise ValueError(
            f"{path}: `w00` takes {n_in} channels and `{names[-1][0]}` makes {layers[-1][1].size}, "
            "expected one, or two of which the second is a map of sigma"
        )
    return layers


def _expect(path: str | Path, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{path}: `{name}` is {array.dtype}{list(array.shape)}, expected floating {list(shape)}"
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{path}: `{name}` holds values that are not finite")
