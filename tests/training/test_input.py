"""Batches are a function of the seed; their place can be stored; augmentation is what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.training.input import (
    ArraySource,
    Augment,
    Batches,
    ImageFiles,
    ScanSlices,
    augmented,
    flip,
    padded_batches,
    rotate90,
    shift,
    zoom,
)
from jaxrecon.training.input._batches import _FromBatch, stack

SOURCE = ArraySource(x=np.arange(10), image=np.arange(40.0).reshape(10, 2, 2))


def numbers(batches, n):
    return [next(batches)["x"].tolist() for _ in range(n)]


def test_every_epoch_is_another_permutation():
    seen = np.concatenate(numbers(Batches(SOURCE, 4, seed=1), 5)).reshape(2, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in seen.tolist())
    assert seen[0].tolist() != seen[1].tolist()
    assert numbers(Batches(SOURCE, 4, seed=1), 5) == numbers(Batches(SOURCE, 4, seed=1), 5)
    assert numbers(Batches(SOURCE, 4, seed=1), 5) != numbers(Batches(SOURCE, 4, seed=2), 5)


def test_the_stream_does_not_depend_on_the_batch_size():
    small, large = Batches(SOURCE, 2), Batches(SOURCE, 6)
    assert np.concatenate(numbers(small, 9)).tolist() == np.concatenate(numbers(large, 3)).tolist()


def test_hosts_together_read_the_batch():
    whole = numbers(Batches(SOURCE, 4), 4)
    parts = [numbers(Batches(SOURCE, 4, rows=rows), 4) for rows in ([0, 1], [2, 3])]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_a_place_is_gone_back_to_and_checked():
    batches = Batches(SOURCE, 4)
    numbers(batches, 2)
    place = batches.get_state()
    expected = numbers(batches, 3)
    again = Batches(SOURCE, 4)
    again.set_state(place)
    assert numbers(again, 3) == expected
    with pytest.raises(ValueError, match="`batch_size` is 4, this one has 5"):
        Batches(SOURCE, 5).set_state(place)
    with pytest.raises(ValueError, match="`seed` is 0"):
        Batches(SOURCE, 4, seed=3).set_state(place)


def test_an_evaluation_sees_every_example_once():
    batches = list(padded_batches(SOURCE, 4))
    seen = np.concatenate([batch["x"][valid] for batch, valid in batches])
    assert seen.tolist() == list(range(10))
    assert all(len(batch["x"]) == 4 for batch, _ in batches)


def test_bad_sources_are_refused():
    with pytest.raises(ValueError, match="first axes"):
        ArraySource(x=np.zeros(3), y=np.zeros(4))
    with pytest.raises(ValueError, match="`source` is empty"):
        Batches([], 2)
    ragged = [{"x": np.zeros(i)} for i in range(1, 3)]
    with pytest.raises(ValueError, match="cannot be stacked"):
        next(Batches(ragged, 2))


def test_grain_reads_the_same_batches():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    batches = Batches(SOURCE, 4, rows=[1, 2])
    examples = grain.MapDataset.source(_FromBatch(batches._stream, 1))
    by_grain = iter(examples.to_iter_dataset().batch(2, batch_fn=stack))
    assert numbers(by_grain, 3) == numbers(batches, 4)[1:]


@pytest.mark.slow
def test_processes_of_grain_read_the_same_batches():
    pytest.importorskip("grain", reason="grain is not installed")
    by_threads, by_processes = Batches(SOURCE, 4), Batches(SOURCE, 4, n_processes=1)
    assert numbers(by_processes, 2) == numbers(by_threads, 2)
    by_processes.set_state(by_threads.get_state())
    assert numbers(by_processes, 2) == numbers(by_threads, 2)


IMAGE = jnp.arange(20.0).reshape(4, 5) + 1j
SQUARE = jnp.arange(16.0).reshape(4, 4)
KEYS = jax.random.split(jax.random.key(0), 64)


def variants(f, image):
    images = jax.vmap(f, in_axes=(None, 0))(image, KEYS)
    return {np.asarray(one).tobytes(): np.asarray(one) for one in images}.values()


def test_rotations_and_flips_are_the_symmetries_of_the_square():
    turned = {np.asarray(jnp.rot90(SQUARE, k)).tobytes() for k in range(4)}
    assert {v.tobytes() for v in variants(rotate90, SQUARE)} == turned
    assert len(variants(rotate90, IMAGE)) == 2
    assert len(variants(flip, IMAGE)) == 4
    assert len(variants(Augment(), SQUARE)) == 8


def test_shift_and_zoom_move_a_plane_as_they_should():
    y, x = jnp.mgrid[0:9, 0:11] * 1.0
    plane = jnp.stack([y, x])  # interpolation of a plane is exact: values say where they came from
    moved = shift(plane, KEYS[0], 2.0)[:, 3:6, 3:7]
    offset = (plane[:, 3:6, 3:7] - moved).mean((1, 2))
    assert jnp.all(jnp.abs(offset) <= 2.0)
    np.testing.assert_allclose(
        plane[:, 3:6, 3:7] - moved, offset[:, None, None] + 0 * moved, atol=1e-5
    )
    larger = zoom(plane, KEYS[1], 1.5, 1.5)
    np.testing.assert_allclose(larger[0, :, 5], (y[:, 5] - 4) / 1.5 + 4, atol=1e-5)
    np.testing.assert_allclose(larger[1, 4], (x[4] - 5) / 1.5 + 5, atol=1e-5)
    complex_plane = zoom(plane[0] + 1j * plane[1], KEYS[1], 1.5, 1.5)
    np.testing.assert_allclose(complex_plane, larger[0] + 1j * larger[1], atol=1e-5)


def test_arrays_of_an_example_move_alike():
    def loss(net, example, key):
        return jnp.sum(jnp.abs(example["a"] - example["b"])), {}

    example = {"a": SQUARE, "b": SQUARE, "c": 0.0}
    moved = augmented(loss, Augment(zoom=(0.8, 1.2), shift=1.0), ("a", "b"))
    assert float(moved(None, example, KEYS[0])[0]) == 0.0


def test_scans_and_images_are_read_slice_by_slice(tmp_path):
    kspace = np.arange(48).reshape(2, 2, 3, 4).astype(np.complex64) + 1
    np.savez(tmp_path / "scan.npz", ksp=kspace)
    source = ScanSlices([tmp_path / "scan.npz"])
    assert len(source) == 2
    np.testing.assert_array_equal(source[1]["kspace"], kspace[1])
    np.save(tmp_path / "image.npy", np.eye(3))
    np.save(tmp_path / "volume.npy", np.zeros((2, 3, 3)))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    images = ImageFiles([tmp_path / name for name in ("image.npy", "volume.npy", "broken.npy")])
    np.testing.assert_array_equal(images[0]["image"], np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"volume.npy: `image` has shape \(2, 3, 3\)"):
        images[1]
    with pytest.raises(ValueError, match=r"broken.npy: cannot be read"):
        images[2]
