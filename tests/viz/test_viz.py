"""Pictures: what they show, that nothing overlaps, that files are whole or absent."""

import matplotlib
import numpy as np
import pytest

from jaxrecon import metrics, viz


def scene(n_methods, shape=(24, 20)):
    rng = np.random.default_rng(5)
    truth = rng.uniform(0, 0.02, shape).astype(np.float32)
    images = {
        f"method {i}": truth + 1e-3 * (i + 1) * rng.normal(size=shape).astype(np.float32)
        for i in range(n_methods)
    }
    return truth, images


def texts(figure):
    return [text.get_text() for text in figure.texts]


def pictures(figure):
    """The images of a figure that are not colour bars."""
    return [axes.images[0] for axes in figure.axes if axes.images]


def values(picture) -> np.ndarray:
    array = picture.get_array()
    assert array is not None
    return np.asarray(array)


@pytest.mark.parametrize("n_methods", [1, 3, 4, 9])
def test_comparison_shows_every_method_its_error_and_scores(n_methods):
    truth, images = scene(n_methods)
    figure = viz.comparison(truth, images, title="Head", units="1/mm", amplification=4)
    shown = pictures(figure)
    assert len(figure.axes) == 1 + 2 * n_methods + 2
    assert [a.get_title() for a in figure.axes if a.get_title()] == ["Truth", *images]
    np.testing.assert_array_equal(values(shown[0]), truth)
    windows = {picture.get_clim() for picture in (shown[0], *shown[1::2])}
    assert len(windows) == 1
    ((low, high),) = windows
    for name, picture, error in zip(images, shown[1::2], shown[2::2]):
        np.testing.assert_array_equal(values(picture), images[name])
        np.testing.assert_array_equal(values(error), np.abs(images[name] - truth))
        assert error.get_clim() == pytest.approx((0, (high - low) / 4))
        assert f"{float(metrics.psnr(images[name], truth)):.2f} dB" in texts(figure)
        assert f"{float(metrics.ssim(images[name], truth)):.3f}" in texts(figure)
        assert f"{float(metrics.nrmse(images[name], truth)):.3f}" in texts(figure)
    assert "Head" in texts(figure)
    assert any("amplified 4×" in text for text in texts(figure))
    assert [a.get_ylabel() for a in figure.axes].count("1/mm") == 2


@pytest.mark.parametrize(("n_methods", "shape"), [(4, (24, 20)), (9, (24, 20)), (2, (12, 90))])
def test_no_text_overlaps_or_leaves_the_page(n_methods, shape):
    truth, images = scene(n_methods, shape)
    images = {f"{name} of a rather long description": x for name, x in images.items()}
    scores = {name: {"psnr": 123.456, "ssim": 0.1234, "nrmse": 0.1234} for name in images}
    figure = viz.comparison(1e-4 * truth, images, scores=scores, title="A title", units="1/mm")
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    boxes += [picture.get_window_extent() for picture in pictures(figure)]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        for other in boxes[:i]:
            assert not (
                min(box.x1, other.x1) - max(box.x0, other.x0) > 0.5
                and min(box.y1, other.y1) - max(box.y0, other.y0) > 0.5
            )
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box is None or box.x1 <= figure.bbox.x1


def test_the_best_score_is_bold_and_unknown_scores_are_shown():
    truth, images = scene(2)
    scores = {
        "method 0": {"psnr": 30.0, "nrmse": 0.1, "seconds": 2.0},
        "method 1": {"psnr": 20.0, "nrmse": 0.05, "seconds": 1.0},
    }
    figure = viz.comparison(truth, images, scores=scores)
    bold = {text.get_text() for text in figure.texts if text.get_fontweight() == "bold"}
    assert bold == {"30.00 dB", "0.050"}
    assert "seconds" in texts(figure)
    bare = viz.comparison(truth, images, scores={})
    assert "PSNR" not in texts(bare)


def test_complex_images_are_shown_by_magnitude():
    truth, images = scene(1)
    turned = {"turned": images["method 0"] * np.exp(2j)}
    shown = pictures(viz.comparison(-1j * truth, turned, scores={}))
    expected = np.abs(images["method 0"])
    np.testing.assert_allclose(values(shown[1]), expected, rtol=1e-5)
    np.testing.assert_allclose(values(shown[2]), np.abs(expected - truth), atol=1e-8)


def test_image_has_its_window_and_units():
    truth, _ = scene(1)
    figure = viz.image(truth, title="CT", window=(0.005, 0.01), units="1/mm")
    (picture,) = pictures(figure)
    assert picture.get_clim() == (0.005, 0.01)
    assert figure.axes[0].get_title() == "CT"
    assert figure.axes[1].get_ylabel() == "1/mm"
    low, high = pictures(viz.image(np.where(truth > 0.01, np.nan, truth)))[0].get_clim()
    assert low == 0
    assert 0.009 < high <= 0.01


def test_nothing_global_changes(tmp_path):
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend()
    viz.save(viz.image(np.eye(12)), tmp_path / "eye.png")
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.get_backend() == backend


def test_save_is_whole_or_absent(tmp_path, monkeypatch):
    figure = viz.image(np.eye(12))
    path = viz.save(figure, tmp_path / "eye.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert viz.save(figure, tmp_path / "eye.svg").read_text().rstrip().endswith("</svg>")
    before = path.read_bytes()

    def half(name, **_):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="no space"):
        viz.save(figure, path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["eye.png", "eye.svg"]


def test_bad_input_is_named(tmp_path):
    truth, images = scene(1)
    with pytest.raises(ValueError, match=r"`images` has \(23, 20\) under 'x', expected \(24, 20\)"):
        viz.comparison(truth, {"x": truth[1:]})
    with pytest.raises(ValueError, match="`images` is empty"):
        viz.comparison(truth, {})
    with pytest.raises(ValueError, match=r"`scores` has \['y'\], expected names in `images`"):
        viz.comparison(truth, images, scores={"y": {}})
    with pytest.raises(ValueError, match="`amplification` is 0"):
        viz.comparison(truth, images, amplification=0)
    with pytest.raises(ValueError, match="`max_columns` is 1"):
        viz.comparison(truth, images, max_columns=1)
    with pytest.raises(ValueError, match="`window` is"):
        viz.image(truth, window=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"`truth` has shape \(2, 24, 20\), expected \(y, x\)"):
        viz.comparison(np.stack([truth, truth]), images)
    with pytest.raises(ValueError, match=r"expected a suffix of .*png"):
        viz.save(viz.image(truth), tmp_path / "picture.xyz")
