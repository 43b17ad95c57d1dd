"""The shipped networks in the command: `models`, `recon --method learned` and `pnp`."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.cli import _models
from jaxrecon.cli.methods import METHODS, Measurement, find_method, methods_of
from jaxrecon.nets import pretrained
from jaxrecon.physics import ct, mri
from tests.cli.conftest import Command, Done
from tests.io import makers

ROOT = Path(__file__).resolve().parents[2]


def recon(jaxrecon: Command, path: Path, method: str, out: Path, *options: object) -> Done:
    return jaxrecon("recon", path, "--method", method, "--out", out, *options)


def image(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file["image"]


def maps(folder: Path) -> Path:
    """Of the makers' noise, which has none."""
    return makers.save(folder / "maps.npz", {"maps": makers.kspace(2)[1]})


def test_models_are_listed_with_size_and_figure(jaxrecon):
    done = jaxrecon("models")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == pretrained.names()
    for line in lines:
        card = pretrained.card(line.split()[0])
        assert card.task in line
        assert card.stored is not None
        assert f"{card.stored.n_parameters:,}" in line
        assert card.headline in line


@pytest.mark.parametrize("name", pretrained.names())
def test_a_card_is_shown(jaxrecon, name):
    done, card = jaxrecon("models", name), pretrained.card(name)
    assert (done.status, done.err) == (0, "")
    texts = [card.title, card.units, card.use, card.licence, card.training.command, *card.limits]
    assert card.stored is not None
    texts += [card.stored.sha256, card.data[0].source, str(card.figures[0])]
    for text in texts:
        assert text in done.out


def test_an_unknown_model(jaxrecon):
    done = jaxrecon("models", "resnet")
    assert done.status == 2
    assert "`NAME` 'resnet' is no model: there are ct-sparse, denoiser-grey" in done.err


@pytest.mark.parametrize(
    ("make", "method", "options", "shape"),
    [
        ("tooth", "learned", (), (3, 16, 16)),
        ("fan", "learned", (), (16, 16)),
        ("cartesian", "learned", (), (8, 6)),
        ("fan", "pnp", ("--iterations", 2, "--model", "wcrr"), (16, 16)),
        ("spiral", "pnp", ("--iterations", 2), (16, 16)),
    ],
)
def test_networks_reconstruct_files(jaxrecon, tmp_path, make, method, options, shape):
    """All slices of every kind of scan; the record says by which weights."""
    out = tmp_path / "x.npz"
    if make == "cartesian":
        options = (*options, "--maps", maps(tmp_path))
    done = recon(jaxrecon, makers.MAKERS[make](tmp_path), method, out, *options)
    assert done.status == 0, done.err
    assert image(out).shape == shape
    assert np.isfinite(image(out)).all()
    parameters = json.loads(out.with_name("x.npz.json").read_text())["parameters"]
    card = pretrained.card(parameters["network"]["name"])
    assert card.stored is not None
    assert parameters["network"]["sha256"] == card.stored.sha256
    assert parameters["settings"]["model"] == card.name
    for line in (card.title, *card.limits):
        assert line in done.out


@pytest.mark.parametrize(("make", "shape"), [("tooth", (3, 16, 16)), ("spiral", (16, 16))])
def test_samples_of_files(jaxrecon, tmp_path, make, shape):
    """The image is their mean; deviation and interval have files of their own, in one record."""
    out = tmp_path / "x.npz"
    options = ("--samples", 19, "--iterations", 2)
    done = recon(jaxrecon, makers.MAKERS[make](tmp_path), "posterior", out, *options)
    assert done.status == 0, done.err
    mean, std, low, high = (
        image(tmp_path / f"x{name}.npz") for name in ("", "-std", "-low", "-high")
    )
    assert mean.shape == std.shape == low.shape == high.shape == shape
    assert (std > 0).all()
    assert (low < high).all()
    assert np.mean((low < np.abs(mean)) & (np.abs(mean) < high)) > 0.9
    samples = tmp_path / "x-samples.npz"
    assert samples.exists() == (len(shape) == 2)
    if samples.exists():
        drawn = image(samples)
        np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=1e-5 * np.abs(mean).max())
        least = np.abs(drawn).min(axis=0)  # the first of 19 stands at 1/20
        np.testing.assert_allclose(least, low, rtol=1e-5)
    record = json.loads(out.with_name("x.npz.json").read_text())
    assert record["parameters"]["settings"]["samples"] == 19
    assert record["quality"]["samples"] == 19
    assert len(record["quality"]["noise of the data, estimated"]) == (3 if make == "tooth" else 1)


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("fbp", ("--samples", 19), "`--samples` belongs to posterior: not fbp"),
        ("posterior", ("--samples", 18), "`--samples` is 18, expected 19"),
        ("posterior", ("--strength", 0.2), "`--strength` is 0.2, expected the last noise level"),
    ],
)
def test_samples_that_cannot_be_are_refused(jaxrecon, tmp_path, method, options, said):
    out = tmp_path / "x.npz"
    done = recon(jaxrecon, makers.fan(tmp_path), method, out, *options)
    assert done.status == 2
    assert said in done.err
    assert not out.exists()


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_the_spread_of_samples_is_that_of_their_error(modality):
    """Of their mean, within a factor; and the mean is better than one of them."""
    scan, truth = scans()[modality]
    noise = {"ct": 0.01 * float(jnp.mean(jnp.abs(scan.data))), "mri": 1e-4 * np.sqrt(2)}[modality]
    known = dataclasses.replace(scan, noise=lambda: noise)
    method = find_method(modality, "posterior")
    outcome = method(known, n_iter=10, samples=8)
    samples = outcome.samples
    assert samples is not None
    error = lambda x: float(jnp.sqrt(jnp.mean(jnp.abs(jnp.abs(x) - truth) ** 2)))  # noqa: E731
    spread = float(jnp.sqrt(jnp.mean(jnp.var(jnp.abs(samples), axis=0, ddof=1))))
    assert error(outcome.image) < error(samples[0])
    assert 0.3 < spread / error(outcome.image) < 3
    with pytest.raises(ValueError, match="noise is zero or unknown"):
        method(scan)


@pytest.mark.parametrize(
    ("make", "method", "options", "said"),
    [
        ("fan", "learned", ("--model", "mri-multicoil"), "is for reconstruction, MRI"),
        ("fan", "learned", ("--model", "mri-multicoil"), "of CT: it takes ct-sparse"),
        ("fan", "pnp", ("--model", "ct-sparse"), "it takes denoiser-grey, wcrr"),
        ("cartesian", "learned", ("--model", "ct-sparse"), "of MRI: it takes mri-multicoil"),
        ("fan", "learned", ("--model", "resnet"), "`--model` 'resnet' is no model"),
        ("fan", "fbp", ("--model", "ct-sparse"), "`--model` belongs to pnp, learned, posterior"),
        ("spiral", "learned", (), "'learned' is not one for non-Cartesian MRI"),
    ],
)
def test_a_network_that_does_not_suit_is_refused(jaxrecon, tmp_path, make, method, options, said):
    out = tmp_path / "x.npz"
    done = recon(jaxrecon, makers.MAKERS[make](tmp_path), method, out, *options)
    assert done.status == 2
    assert said in done.err
    assert not out.exists()


def test_damaged_weights_are_refused_in_one_line(jaxrecon, tmp_path, monkeypatch):
    """As of an installation that has been tampered with."""
    from jaxrecon.cli.methods import _networks
    from jaxrecon.nets.pretrained import _store

    for path in _store.SHIPPED.iterdir():
        (tmp_path / path.name).write_bytes(
            path.read_bytes()[: -1 if path.suffix == ".npz" else None]
        )
    monkeypatch.setattr(_store, "SHIPPED", tmp_path)
    _networks.loaded.cache_clear()
    done = recon(jaxrecon, makers.fan(tmp_path), "learned", tmp_path / "x.npz")
    assert done.status == 2
    assert "ct-sparse.npz is damaged" in done.err
    assert "SHA-256" in done.err
    assert not (tmp_path / "x.npz").exists()


def scans() -> dict[str, tuple[Measurement, jax.Array]]:
    """A head of 32 x 32 pixels: 24 views with 1 % noise; a third of k-space of six coils."""
    n, keys = 32, jax.random.split(jax.random.key(4), 3)
    x = data.area_average(data.modified_shepp_logan(half_width=n / 2, scale=0.02), (n, n))
    A = ct.parallel_beam(jnp.arange(24) * (np.pi / 24), (n, n), 46)
    y = A(x)
    y += 0.01 * jnp.mean(y) * jax.random.normal(keys[0], y.shape)
    S = mri.sense(
        mri.normalise_maps(mri.birdcage_maps(6, (n, n))),
        mri.random_mask(keys[1], (n, n), 3.0, calibration=8),
    )
    k = S(x.astype(jnp.complex64))
    k += jnp.where(S.mask, 2e-4 * jax.random.normal(keys[2], k.shape, k.dtype), 0)
    ones = jnp.ones_like(y)
    return {
        "ct": (Measurement(operator=A, data=y, weights=ones), x),
        "mri": (Measurement(operator=S, data=k), x),
    }


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_plug_and_play_is_better_than_the_direct_reconstruction(modality):
    """Attenuations of 0.02/mm, where the denoiser knows images in [0, 1]."""
    scan, truth = scans()[modality]
    direct = find_method(modality, {"ct": "fbp", "mri": "zero-filled"}[modality])

    def error(method, **settings):
        return float(jnp.linalg.norm(jnp.abs(method(scan, **settings).image) - truth))

    assert error(find_method(modality, "pnp"), n_iter=6) < 0.8 * error(direct)
    with pytest.raises(ValueError, match="`--strength` is 0"):
        find_method(modality, "pnp")(scan, strength=0.0)


def test_without_weights_the_other_methods_are_left(monkeypatch, tmp_path):
    from jaxrecon.nets.pretrained import _store

    assert all(map(_models.is_there, METHODS.values()))
    monkeypatch.setattr(_store, "SHIPPED", tmp_path)
    left = [m.name for m in methods_of("ct") if _models.is_there(m)]
    assert left == ["fbp", "cgls", "tv"]


def test_flax_is_loaded_only_for_networks():
    """It takes a second, which `--help` and the classical methods don't need."""
    program = (
        "import sys, jaxrecon.cli._app, jaxrecon.cli._recon, jaxrecon.cli.methods\n"
        "assert 'flax' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
