"""The loop: what it logs, keeps and stops at; a run cut in two is the run in one, bit by bit."""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.training import (
    PREEMPTED,
    Checkpoints,
    DivergedError,
    MismatchError,
    Preempted,
    Trainer,
    read_logs,
)
from jaxrecon.training._loop import _packed, _unpacked
from jaxrecon.training._state import to_numbers
from jaxrecon.training.input import Batches
from tests.training.toys import Toy, denoising, images, source

ROOT = Path(__file__).resolve().parents[2]
TRAINING = source(12)
VALIDATION = source(5)
OPTIMISER = optax.adam(1e-2)


def trainer(folder, **changes):
    settings = {
        "loss": denoising,
        "optimiser": OPTIMISER,
        "n_steps": 6,
        "log_every": 2,
        "validate_every": 3,
        "ema_decay": 0.9,
        "folder": folder,
        "progress": False,
    }
    return Trainer(**{**settings, **changes})


def toy(**options):
    return Toy(norm=True, rate=0.1, **options, rngs=nnx.Rngs(params=0, dropout=1))


def fit(trainer, net=None, data=None):
    data = Batches(TRAINING, 4, seed=3, n_threads=1) if data is None else data
    validation = VALIDATION if trainer.folder is not None else None
    return trainer.fit(net or toy(), data, validation, key=jax.random.key(5))


def curve(folder):
    """All lines of the log but for the times."""
    return [
        {name: value for name, value in line.items() if not name.startswith("seconds")}
        for line in read_logs(folder)
    ]


def identical(a, b):
    a, b = (jax.tree.leaves(to_numbers(tree)) for tree in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(trainer(folder))


def test_a_run_logs_validates_and_keeps(whole):
    folder, trained = whole
    lines = curve(folder)
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 2),
        ("validation", 3),
        ("train", 4),
        ("train", 6),
        ("validation", 6),
    ]
    assert trained.stopped == "completed"
    assert trained.step == 6
    assert trained.figures == {k: v for k, v in lines[-1].items() if k not in ("kind", "step")}
    checkpoints = Checkpoints(folder / "checkpoints")
    assert checkpoints.steps == [3, 6]
    losses = {line["step"]: line["loss"] for line in lines if line["kind"] == "validation"}
    assert checkpoints.best_step == trained.best_step == min(losses, key=losses.__getitem__)
    found = checkpoints.restore(trained.state, "best")
    checkpoints.close()
    assert found is not None
    best = nnx.state(trainer(folder).best(toy()), nnx.Param)
    assert identical(nnx.to_pure_dict(best), found[0].ema)


def test_a_run_cut_in_two_is_the_run_in_one(whole, tmp_path):
    folder, trained = whole
    # Cut at 5: off the log, the validation and the epoch.
    with pytest.raises(Preempted) as stopped:
        fit(trainer(tmp_path, on_log=lambda *_: None), data=Killing(5))
    assert stopped.value.code == PREEMPTED
    assert stopped.value.step == 5
    again = fit(trainer(tmp_path))
    assert identical(again.state, trained.state)
    assert curve(tmp_path) == curve(folder)


class Killing(Batches):
    """Sends this process SIGTERM while a batch is read."""

    def __init__(self, at):
        super().__init__(TRAINING, 4, seed=3, n_threads=1)
        self.left = at

    def __next__(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__next__()


PROGRAM = """
import sys, jax, optax
from flax import nnx
from jaxrecon.training import Trainer
from jaxrecon.training.input import Batches
from tests.training.toys import Toy, denoising, images, source
jax.config.update("jax_disable_most_optimizations", True)
net = Toy(norm=True, rate=0.1, rngs=nnx.Rngs(params=0, dropout=1))
Trainer(loss=denoising, optimiser=optax.adam(1e-2), n_steps=int(sys.argv[2]), log_every=1,
        ema_decay=0.9, folder=sys.argv[1], progress=False).fit(
    net, Batches(source(12), 4, seed=3, n_threads=1), key=jax.random.key(5))
"""


def start(folder, n_steps):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(n_steps)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_program_saves_on_sigterm_and_goes_on_bitwise(tmp_path):
    process = start(tmp_path / "cut", 10**9)
    log = tmp_path / "cut" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and len(log.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == PREEMPTED, errors[-2000:]
    assert "Traceback" not in errors
    n_done = read_logs(tmp_path / "cut")[-1]["step"]
    settings = {"log_every": 1, "validate_every": 500}
    trained = [
        trainer(tmp_path / name, n_steps=n_done + 2, **settings).fit(
            toy(), Batches(TRAINING, 4, seed=3, n_threads=1), key=jax.random.key(5)
        )
        for name in ("cut", "whole")
    ]
    assert identical(trained[0].state, trained[1].state)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


# Orbax closes its event loop at the first array that fails; the others' callbacks find it closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_half_written_checkpoints_are_never_loaded(tmp_path):
    fit(trainer(tmp_path, n_steps=3))
    folder = tmp_path / "checkpoints"
    state = fit(trainer(tmp_path, n_steps=5)).state
    # One that was being written when the power went, and one that lost part of a file.
    (folder / "9.orbax-checkpoint-tmp-1" / "arrays").mkdir(parents=True)
    data = max((folder / "5" / "arrays").rglob("d/*"), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:20])
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps == [3, 5]
    with pytest.warns(UserWarning, match=r"checkpoints/5 cannot be read .*: taking the one before"):
        found = checkpoints.restore(state)
    assert found is not None
    assert int(found[0].step) == 3
    assert found[1]["data"]["batch"] == 3
    checkpoints.close()


def test_another_architecture_is_refused_by_name(whole):
    folder, _ = whole
    message = (
        r"checkpoints/6 is of another architecture: `params.layers.0.bias` is float32\[2\] there, "
        r"float32\[3\] here"
    )
    with pytest.raises(MismatchError, match=message):
        fit(trainer(folder), toy(features=3))
    with pytest.raises(MismatchError, match=r"`params.norm.bias` is float32\[2\] there, missing"):
        fit(trainer(folder), Toy(rate=0.1, rngs=nnx.Rngs(params=0, dropout=1)))


def test_data_of_another_run_are_refused(whole):
    folder, _ = whole
    with pytest.raises(ValueError, match="`batch_size` is 4, this one has 3"):
        fit(trainer(folder), data=Batches(TRAINING, 3, seed=3))
    with pytest.raises(ValueError, match="`resume` is False"):
        trainer(folder).fit(
            toy(), Batches(TRAINING, 4), VALIDATION, key=jax.random.key(0), resume=False
        )


def test_training_stops_when_the_validation_does_not_get_better(tmp_path):
    settings = {"optimiser": optax.sgd(0.0), "validate_every": 1, "patience": 2, "ema_decay": None}
    net = Toy(rngs=nnx.Rngs(0))
    trained = fit(trainer(tmp_path, **settings), net)
    assert (trained.stopped, trained.step) == ("early", 3)


def test_divergence_is_an_error_and_one_bad_batch_is_not():
    good, bad = images(1)[0], np.full((6, 5), np.nan, np.float32)
    lines = []
    changes = {"n_steps": 2, "on_log": lambda kind, step, figures: lines.append(figures)}
    fit(trainer(None, **changes), data=Batches([{"image": good}, {"image": bad}], 1, shuffle=False))
    assert lines[0]["skipped"] == 0.5
    assert math.isfinite(lines[0]["loss"])
    with pytest.raises(DivergedError, match="no step of the last 2 up to 2"):
        fit(trainer(None), data=Batches([{"image": bad}], 1))


def test_pictures_and_profile_are_written(tmp_path):
    pytest.importorskip("matplotlib")

    def pictures(net, example, key):
        # Twelve pixels at least: the pictures carry SSIM.
        images = {"truth": example["image"], "network": net(example["image"])}
        return {name: jnp.tile(image, (2, 3)) for name, image in images.items()}

    fit(trainer(tmp_path, n_steps=3, pictures=pictures, profile=(2, 2)))
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["step 00000003.png"]
    assert list((tmp_path / "profile").rglob("*.pb"))


def test_the_log_is_json_even_where_figures_are_not_finite(tmp_path):
    from jaxrecon.training._logs import Logs

    logs = Logs(tmp_path)
    logs.write("train", 1, {"loss": math.nan})
    logs.write("train", 2, {"loss": 1.0})
    logs.close()
    if importlib.util.find_spec("tensorboardX"):
        assert list((tmp_path / "tensorboard").iterdir())
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text.splitlines()[0]) == {"kind": "train", "step": 1, "loss": None}
    (tmp_path / "log.jsonl").write_text(text + '{"kind": "tr')
    Logs(tmp_path, 1).close()
    assert [line["step"] for line in read_logs(tmp_path)] == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "`n_steps` is 0"),
        ({"patience": 2}, "`patience` needs a `validation`"),
        ({"profile": (1, 2)}, "`profile` needs a `folder`"),
        ({"manual": True}, "need a `mesh`"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fit(trainer(None, **change))


@pytest.mark.parametrize("kind", ["data set", "loader"])
def test_the_place_of_grains_iterators_survives_as_json(kind):
    grain = pytest.importorskip("grain", reason="grain is not installed")
    numbers = list(range(10))
    if kind == "data set":
        data = iter(grain.MapDataset.source(numbers).shuffle(1).repeat().to_iter_dataset())
    else:
        sampler = grain.samplers.IndexSampler(10, shuffle=True, seed=0)
        data = iter(grain.DataLoader(data_source=numbers, sampler=sampler))
    next(data)
    place = json.loads(json.dumps(_packed(data.get_state())))
    expected = [next(data) for _ in range(3)]
    data.set_state(_unpacked(place))
    assert [next(data) for _ in range(3)] == expected


def test_data_without_a_place_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`data` has no `get_state`"):
        fit(trainer(tmp_path), data=iter([]))
