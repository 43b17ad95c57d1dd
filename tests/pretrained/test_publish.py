"""From a network to a folder and back; every file that is not what it should be is refused."""

import dataclasses
import datetime
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon.core import identity
from jaxrecon.nets import pretrained as P
from jaxrecon.nets.pretrained._tables import from_table, to_table, to_toml
from jaxrecon.nets.storage import MismatchError, save_weights
from jaxrecon.physics import mri

SMALL = P.ImageNetwork(kind="dncnn", width=3, depth=3, use_bias=False)
CONV = P.ImageNetwork(kind="convnet", width=3, depth=2)
UNET = P.ImageNetwork(kind="unet", width=2, depth=1, norm="instance", residual=False)
DRUNET = P.ImageNetwork(kind="drunet", width=2, depth=1, n_blocks=1)
DENOISERS = {
    "dncnn": P.Denoiser(network=SMALL, margin=2),
    "drunet": P.Denoiser(network=DRUNET),
    "diffusion": P.DiffusionPrior(
        width=4, factors=(1,), n_blocks=1, n_heads=1, n_groups=2, complex_values=True
    ),
    "ridge": P.Ridge(channels=(2, 3), kernel=3, n_iter=5),
}
RECONSTRUCTORS = {
    "pgd": P.UnrolledIterations(iteration="pgd", network=CONV, n_iter=2, complex_values=True),
    "admm": P.UnrolledIterations(iteration="admm", network=CONV, n_iter=2, complex_values=True),
    "modl": P.UnrolledIterations(iteration="modl", network=CONV, n_iter=2, complex_values=True),
    "varnet": P.UnrolledIterations(iteration="varnet", network=UNET, n_iter=2, complex_values=True),
    "primal-dual": P.PrimalDual(n_iter=2, n_images=2, n_data=2, width=3, complex_values=True),
}


def about(architecture=None, **changes) -> P.Card:
    training = P.Training(
        command="python train.py",
        recipe='Adam, "10" steps\\ \u20ac\n\U0001f600',
        seeds=(0, 1),
        date=datetime.date(2026, 1, 2),
        hardware="a core",
        versions={"jax": "1", "an odd.name": "2"},
    )
    fields = {
        **dict.fromkeys(("title", "description", "units", "use", "licence"), "some text"),
        **{"name": "net", "task": "denoising", "modality": "any", "limits": ("one", "two")},
        **{"architecture": architecture or DENOISERS["dncnn"], "training": training},
        "data": (P.Data(name="a", use="test", source="b", licence="c", amount="d"),) * 2,
        "figures": (
            P.Figure(metric="PSNR", value=30.0, spread=0.5, over="x", beside={"TV": 29.0}),
            P.Figure(metric="SSIM", value=1e-7, spread=0.0, unit="dB", over="y"),
        ),
    }
    return P.Card(**{**fields, **changes})


def built(architecture, seed: int = 1):
    return architecture.build(rngs=nnx.Rngs(seed))


@pytest.fixture
def folder(tmp_path):
    """With one network, "net"."""
    P.publish(built(DENOISERS["dncnn"]), about(), tmp_path)
    return tmp_path


def check_same(net, again) -> None:
    a, b = jax.tree.leaves(net), jax.tree.leaves(again)
    assert jax.tree.structure(net) == jax.tree.structure(again)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", DENOISERS)
def test_a_denoiser_comes_back(tmp_path, kind):
    net = built(DENOISERS[kind])
    card = P.publish(net, about(DENOISERS[kind]), tmp_path)
    assert P.card("net", tmp_path) == card
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.npz", "net.toml"]
    check_same(net, P.load("net", folder=tmp_path))


@pytest.mark.parametrize("kind", RECONSTRUCTORS)
def test_a_reconstructor_comes_back(tmp_path, kind):
    net = built(RECONSTRUCTORS[kind])
    card = about(RECONSTRUCTORS[kind], task="reconstruction", modality="mri")
    P.publish(net, card, tmp_path)
    again = P.load("net", folder=tmp_path)
    check_same(net, again)
    A = mri.sense(jnp.ones((1, 6, 4), jnp.complex64), jnp.arange(4)[None] % 2 == jnp.zeros((6, 1)))
    assert again.solve(A, A(jnp.ones((6, 4), jnp.complex64)), unroll=1).value.shape == (6, 4)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_the_space_for_a_rounding_that_the_card_tells(tmp_path, dtype, step):
    architecture = P.Denoiser(network=dataclasses.replace(SMALL, width=16))
    net = built(architecture)
    single = P.publish(net, about(architecture), tmp_path).stored
    half = P.publish(net, about(architecture), tmp_path, dtype=dtype).stored
    assert single is not None
    assert half is not None
    assert single.rounding == 0
    assert half.n_bytes < 0.7 * single.n_bytes
    again = P.load("net", folder=tmp_path)
    kernel, exact = again.net.convs[0].inner.kernel[...], net.net.convs[0].inner.kernel[...]
    assert kernel.dtype == jnp.float32
    change = float(jnp.max(jnp.abs(kernel - exact)) / jnp.max(jnp.abs(exact)))
    assert 0 < change <= 1.001 * half.rounding <= step
    # To publish what was loaded changes nothing: figures can be those of the stored network.
    assert P.publish(again, about(architecture), tmp_path, dtype=dtype).stored.sha256 == half.sha256  # pyright: ignore


def test_what_cannot_be_published_leaves_what_is_there(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    net = built(DENOISERS["dncnn"])
    wider = P.Denoiser(network=dataclasses.replace(SMALL, width=4))
    with pytest.raises(MismatchError, match="`net` is of another architecture"):
        P.publish(built(wider), about(), folder)
    kernel = net.net.convs[0].inner.kernel
    for value, reason in ((1e6, "not finite in float16"), (np.nan, "not finite")):
        kernel.set_value(kernel[...].at[0].set(value))
        with pytest.raises(ValueError, match=rf"net\.convs\.0\.inner\.kernel .* {reason}"):
            P.publish(net, about(), folder, dtype="float16")
    with pytest.raises(ValueError, match="`about` cannot be written"):
        P.publish(built(DENOISERS["dncnn"]), about(title="no \x7f in TOML"), folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_files_that_are_not_those_of_the_card(folder):
    path = folder / "net.npz"
    good = path.read_bytes()
    wanted = P.card("net", folder).stored.sha256  # pyright: ignore
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for bad in (bytes(flipped), good[:-1], b"", good + b"x"):
        path.write_bytes(bad)
        with pytest.raises(
            ValueError, match=rf"net\.npz is damaged.* \({len(bad)} bytes\).*{wanted}"
        ):
            P.load("net", folder=folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"net\.npz: no weights: No such file"):
        P.load("net", folder=folder)


def test_swapped_files_and_cards(folder):
    P.publish(built(DENOISERS["dncnn"], 2), about(name="other"), folder)
    for suffix in ("npz", "toml"):
        a, b = folder / f"net.{suffix}", folder / f"other.{suffix}"
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second)
        said = "damaged, or not the file" if suffix == "npz" else "name is 'other'"
        with pytest.raises(ValueError, match=said):
            P.load("net", folder=folder)
        a.write_bytes(first)
    P.load("net", folder=folder)


def test_a_right_checksum_does_not_make_a_right_file(folder):
    """The weights of another architecture, and a file that is none, under a card that says so."""
    path = folder / "net.npz"

    def with_checksum_of_now():
        import hashlib

        card = folder / "net.toml"
        old = P.card("net", folder).stored.sha256  # pyright: ignore
        card.write_text(
            card.read_text().replace(old, hashlib.sha256(path.read_bytes()).hexdigest())
        )

    save_weights(path, built(DENOISERS["drunet"]))
    with_checksum_of_now()
    with pytest.raises(MismatchError, match=r"net\.npz is of another architecture: `net\.convs"):
        P.load("net", folder=folder)
    np.savez(path, np.array([{"an": "object"}], dtype=object))
    with_checksum_of_now()
    with pytest.raises(ValueError, match=r"net\.npz is not a file of weights"):
        P.load("net", folder=folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "some text"', "title = 3", "title is 3, expected str"),
        ('title = "some text"\n', "", "field title is missing"),
        ('title = "some text"', 'title = "x"\ncolour = 1', "unknown field colour"),
        ('title = "some text"', 'title = "x', "is not a model card"),
        ('task = "denoising"', 'task = "cooking"', "task is 'cooking', expected one of"),
        ('kind = "denoiser"', 'kind = "magic"', "architecture.kind is 'magic', expected one of"),
        ("width = 3", 'width = "3"', "architecture: network: width is '3', expected int"),
        ("width = 3", "width = true", "width is True, expected int"),
        ("margin = 2", "margin = 2\nwidth = 1", "architecture: unknown field width"),
        ("seeds = [0, 1]", 'seeds = [0, "b"]', r"training: seeds\[1\] is 'b', expected int"),
        ("spread = 0.5", "spread = nan", r"figures\[0\]: spread is nan"),
        ("date = 2026-01-02", 'date = "May"', "training: date is 'May', expected date"),
        ("[stored]", "[kept]", "unknown field kept"),
    ],
)
def test_broken_cards_are_refused_by_field(folder, old, new, said):
    path = folder / "net.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"net\.toml.*{said}"):
        P.load("net", folder=folder)


def test_unknown_names_and_cards_without_weights(folder):
    with pytest.raises(ValueError, match=r"`name` is 'nte', .* has net"):
        P.load("nte", folder=folder)
    with pytest.raises(ValueError, match=r"`name` is '\.\./net'"):
        P.load("../net", folder=folder)
    path = folder / "net.toml"
    text = path.read_text()
    path.write_text(text[: text.index("[stored]")] + text[text.index("[[") :])
    with pytest.raises(ValueError, match=r"net\.toml: field stored is missing"):
        P.load("net", folder=folder)


def test_cards_are_toml_that_reads_back():
    card = about()
    text = to_toml(to_table(card))
    assert from_table(P.Card, tomllib.loads(text), "x") == card
    assert card.headline == "PSNR 30 ± 0.5, x"
    assert about(figures=()).headline == "not judged yet"


def test_an_identity_is_reconstructed_by_a_real_network(tmp_path):
    """Real images, a small one, in the float64 of the caller."""
    architecture = P.PrimalDual(n_iter=1, n_images=1, n_data=1, width=2)
    P.publish(built(architecture), about(architecture), tmp_path)
    net = P.load("net", folder=tmp_path)
    image = net(identity(jnp.zeros((4, 3))), jnp.ones((4, 3)))
    assert image.shape == (4, 3)
