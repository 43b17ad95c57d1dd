"""A folder of published networks: ``NAME.toml``, the card, beside ``NAME.npz``, the weights.

The card's SHA-256 is compared with the bytes of the file before anything in it is looked at. Files
hold plain arrays; what is built from them is decided by the card's typed architecture alone.
"""

import dataclasses
import hashlib
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.core._store import whole_file
from jaxrecon.nets.layers import n_parameters
from jaxrecon.nets.pretrained._card import Card, Stored, card_of, read_card, text_of
from jaxrecon.nets.storage import save_weights
from jaxrecon.nets.storage._files import check_leaves
from jaxrecon.nets.storage._weights import arrays_of, describe, fill, weights_of

Pathlike = str | os.PathLike[str]

SHIPPED = Path(__file__).parent / "weights"


def names(folder: Pathlike | None = None) -> list[str]:
    """The names of the networks in a folder; of those that ship with jaxrecon by default.

    Example:
        >>> names()
        ['ct-sparse', 'denoiser-grey', 'mri-multicoil', 'prior-brain', 'wcrr']
    """
    return sorted(path.stem for path in _folder(folder).glob("*.toml"))


def card(name: str, folder: Pathlike | None = None) -> Card:
    """The card of a network: what it is, what it was made of, how good it is.

    Raises:
        ValueError: an unknown name, or a broken card; names the file and the field.

    Example:
        >>> card("wcrr").task
        'denoising'
    """
    place = _folder(folder)
    if name not in names(place):
        known = ", ".join(names(place)) or "none"
        raise ValueError(f"`name` is {name!r}, {place} has {known}")
    return read_card(place / f"{name}.toml")


def load(name: str, *, dtype: Any = None, folder: Pathlike | None = None) -> Any:
    """A network with its weights, in evaluation mode.

    Args:
        name: see `names`.
        dtype: of activations, such as bfloat16; by default that of image and weights. Weights are
            float32, however they are stored.
        folder: where it is; with jaxrecon by default.

    Returns:
        An nnx module: by the card's `task` a denoiser ``D(x, sigma)``, or a reconstruction network
        ``net(A, y)``.

    Raises:
        ValueError: an unknown name; a broken card; a file of weights that is missing, damaged or
            another one than the card says.
        MismatchError: weights of another architecture than the card's; names the first array.

    Example:
        >>> D = load("denoiser-grey")
        >>> D(jnp.full((8, 8), 0.5), 0.1).shape
        (8, 8)
    """
    about = card(name, folder)
    path = _folder(folder) / f"{name}.npz"
    arrays, description = weights_of(_verified(path, about), str(path))
    net = _blank(about, dtype)
    fill(net, arrays, description, str(path))
    net.eval()
    return net


def publish(net: nnx.Module, about: Card, folder: Pathlike, *, dtype: str = "float32") -> Card:
    """Writes a trained network to a folder, from which `load` gives it back.

    The weights take their place before the card does, each file whole: whoever reads in between
    gets the old network or an error, never a mixture.

    Args:
        net: the network, of the card's architecture.
        about: its card; what it says in `stored` is replaced.
        folder: made if it does not exist.
        dtype: in which to store: "float32"; "float16" or "bfloat16" for half the size. The card
            says how much rounding changed the weights. Figures should be those of the network that
            `load` gives: publish, judge what is loaded, publish again with the figures.

    Returns:
        The card as it was written.

    Raises:
        MismatchError: the network is not of the card's architecture; names the first array.
        ValueError: weights that are not finite, or not in that dtype; a card that cannot be kept.

    Example:
        >>> about = dataclasses.replace(card("wcrr"), name="mine", figures=())
        >>> with tempfile.TemporaryDirectory() as place:
        ...     stored = publish(load("wcrr"), about, place, dtype="float16").stored
        ...     names(place), load("mine", folder=place).modulus
        (['mine'], 1.0)
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    weights, text = place / f"{about.name}.npz", place / f"{about.name}.toml"
    check_leaves(describe(arrays_of(net)), describe(arrays_of(_blank(about))), "`net`")
    rounding = _rounding(net, dtype)
    with tempfile.TemporaryDirectory(dir=place) as draft:
        path = Path(draft) / weights.name
        save_weights(path, net, card={"name": about.name}, dtype=jnp.dtype(dtype))
        raw = path.read_bytes()
        stored: dict[str, Any] = {"sha256": _sha256(raw), "n_bytes": len(raw), "dtype": dtype}
        stored |= {"rounding": rounding, "n_parameters": n_parameters(net)}
        about = dataclasses.replace(about, stored=Stored(**stored))
        _check_text(about, str(text))
        os.replace(path, weights)
    with whole_file(text) as file:
        file.write(text_of(about).encode())
    return about


def _folder(folder: Pathlike | None) -> Path:
    return SHIPPED if folder is None else Path(folder)


def _blank(about: Card, dtype: Any = None) -> Any:
    """The network without numbers: to draw some would take longer than to read them."""
    return nnx.eval_shape(lambda: about.architecture.build(rngs=nnx.Rngs(0), dtype=dtype))


def _verified(path: Path, about: Card) -> bytes:
    """The bytes of a file of weights, if they are those of the card."""
    if about.stored is None:
        raise ValueError(f"{path.with_suffix('.toml')}: field stored is missing: see `publish`")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: no weights: {error.strerror}") from None
    found, wanted = _sha256(raw), about.stored.sha256
    if found != wanted:
        raise ValueError(
            f"{path} is damaged, or not the file that its card is about: its SHA-256 is {found} "
            f"({len(raw)} bytes), expected {wanted} ({about.stored.n_bytes} bytes); install "
            "jaxrecon again, or publish the network again"
        )
    return raw


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _rounding(net: nnx.Module, dtype: str) -> float:
    """The largest change of a number by storing, relative to the largest of its array."""
    changes = [0.0]
    floats = {k: x for k, x in arrays_of(net).items() if jnp.issubdtype(x.dtype, jnp.floating)}
    for name, array in floats.items():
        exact = np.asarray(array, np.float64)
        stored = np.asarray(array.astype(dtype), np.float64)
        if not np.isfinite(stored).all():
            reason = f"not finite in {dtype}" if np.isfinite(exact).all() else "not finite"
            raise ValueError(f"`net`: {name} holds numbers that are {reason}")
        largest = np.max(np.abs(exact), initial=0.0)
        changes.append(float(np.max(np.abs(stored - exact), initial=0.0) / (largest or 1.0)))
    return float(f"{max(changes):.3g}")


def _check_text(about: Card, where: str) -> None:
    """Refuses a card that a file would give back otherwise."""
    try:
        again = card_of(tomllib.loads(text_of(about)), where, about.name)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"`about` cannot be written to {where}: {error}") from None
    if again != about:
        names = [f.name for f in dataclasses.fields(Card)]
        wrong = [n for n in names if getattr(again, n) != getattr(about, n)]
        raise ValueError(f"`about` does not come back from {where}: {', '.join(wrong)} differ")
