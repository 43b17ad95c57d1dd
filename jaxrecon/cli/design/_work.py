"""Stages in parts of a few steps, each stored whole: a design that was stopped goes on to the bit.

The best outcome is that of least error over the validation images, all with the same noise; the
starting pattern's own is the first of them, so that a design is never worse than it there.
"""

import contextlib
import dataclasses
import hashlib
import json
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.cli.design._config import Config
from jaxrecon.cli.design._plan import Images, Plan, Stage
from jaxrecon.core._store import whole_file
from jaxrecon.design import DesignState, optimise
from jaxrecon.training._state import from_numbers, to_numbers

STATE = "state.npz"
_TREES = ("before", "best", "pattern", "state")


@dataclasses.dataclass(kw_only=True)
class Journal:
    """How far a design is, and all that is needed to go on.

    Attributes:
        before: the starting pattern's outcome.
        best: the best outcome so far.
        pattern: the last one whose loss was finite.
        state: of `optimise`; none at a stage's begin.
        stage: which one is at work.
        done: its steps taken.
        losses: of every step of all stages.
        scores: (step, mean NRMSE) of every validation.
        best_step: at which the best outcome was seen.
        finite: whether all losses and gradients were, so far.
    """

    before: Any
    best: Any
    pattern: Any
    state: DesignState | None = None
    stage: int = 0
    done: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    scores: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    best_step: int = 0
    finite: bool = True

    @property
    def steps(self) -> int:
        """Taken in all stages."""
        return len(self.losses)

    @property
    def best_score(self) -> float:
        """Mean NRMSE of the best outcome."""
        return min(score for _, score in self.scores)


class Work:
    """A plan at work in a folder.

    Args:
        plan: what is done.
        config: all of the configuration: another one's state is not gone on from.
        path: of the stored state.
    """

    def __init__(self, plan: Plan, config: Config, path: Path):
        settings = config.design
        self.plan, self._settings, self._path = plan, settings, path
        self._origin = _digest(config, plan.images)
        stages, self._judging = jax.random.split(jax.random.key(settings.seed))
        self._keys = jax.random.split(stages, max(1, len(plan.stages)))
        self._reconstruct = jax.jit(plan.reconstruct_all)
        self._truth = np.asarray(plan.images.validation)

    def reconstructions(self, outcome: Any) -> np.ndarray:
        """Of every validation image, from the data that it is judged by."""
        return np.asarray(self._reconstruct(outcome, self._judging))

    def error(self, outcome: Any) -> float:
        """The mean NRMSE of the validation images."""
        rows = lambda x: np.sqrt((np.abs(x) ** 2).sum(axis=(1, 2)))  # noqa: E731
        wrong = self.reconstructions(outcome) - self._truth
        return float(np.mean(rows(wrong) / rows(self._truth)))

    def begin(self, *, resume: bool) -> Journal:
        """The stored journal, or a new one with the starting pattern judged.

        Raises:
            ValueError: the stored one is broken, or the start's error is not finite.
        """
        if resume and self._path.exists():
            return self._load()
        outcome, score = self._judged(self.plan.start)
        if not np.isfinite(score):
            raise ValueError(
                "the starting pattern's error is not finite: look at the images, scan.noise and "
                "reconstruction.weight"
            )
        journal = Journal(before=outcome, best=outcome, pattern=self.plan.start)
        journal.scores.append((0, score))
        self._store(journal)
        return journal

    def go(self, journal: Journal, notify: Callable[[], None], progress: Any = None) -> None:
        """All that is left to do; ends early where a loss or gradient is not finite.

        Args:
            journal: where to go on, and what is brought forward.
            notify: called after every part.
            progress: ``progress(i, info)``, after every step of a part.

        Raises:
            KeyboardInterrupt: after the part in which it was asked for, which is stored.
        """
        with _held_back() as asked:
            self._go(journal, notify, progress, asked)

    def _go(self, journal: Journal, notify: Any, progress: Any, asked: list) -> None:
        while journal.finite and journal.stage < len(self.plan.stages):
            stage = self.plan.stages[journal.stage]
            if journal.done == 0:
                journal.pattern = stage.begin(journal.pattern, journal.best)
                if stage.anew:
                    self._judge(journal, journal.pattern)
            if journal.done < stage.n_steps:
                self._part(journal, stage, progress)
            else:
                journal.stage, journal.done, journal.state = journal.stage + 1, 0, None
            if journal.finite:
                self._store(journal)
            notify()
            if asked:
                raise KeyboardInterrupt

    def _part(self, journal: Journal, stage: Stage, progress: Any) -> None:
        """Steps until the next picture."""
        design = optimise(
            stage.criterion,
            journal.pattern,
            n_steps=min(self._settings.picture_every, stage.n_steps - journal.done),
            key=self._keys[journal.stage],
            project=stage.project,
            optimiser=stage.optimiser,
            state=journal.state,
            progress=progress,
        )
        losses = np.asarray(design.info.loss, float)
        journal.finite = bool(design.status.ok)
        journal.losses += [float(x) for x in losses[np.isfinite(losses)]]
        journal.pattern, journal.state = design.value, design.state
        journal.done += int(design.n_iter)
        if not journal.finite or self._is_due(journal.done, stage.n_steps):
            self._judge(journal, journal.pattern)

    def _is_due(self, done: int, last: int) -> bool:
        return done % self._settings.validate_every == 0 or done == last

    def _judge(self, journal: Journal, pattern: Any) -> None:
        outcome, score = self._judged(pattern)
        if score < journal.best_score:
            journal.best, journal.best_step = outcome, journal.steps
        journal.scores.append((journal.steps, score))

    def _judged(self, pattern: Any) -> tuple[Any, float]:
        """The best outcome of a pattern, and its mean NRMSE."""
        outcomes = self.plan.outcomes(pattern)
        scores = [self.error(outcome) for outcome in outcomes]
        best = int(np.argmin(np.nan_to_num(scores, nan=np.inf)))
        return outcomes[best], scores[best]

    def _store(self, journal: Journal) -> None:
        trees = {name: jax.tree.leaves(to_numbers(getattr(journal, name))) for name in _TREES}
        arrays = {
            f"{n}.{i}": np.asarray(x) for n, tree in trees.items() for i, x in enumerate(tree)
        }
        facts = {f.name: getattr(journal, f.name) for f in dataclasses.fields(journal)}
        plain = {name: value for name, value in facts.items() if name not in _TREES}
        plain["origin"] = self._origin
        with whole_file(self._path) as file:
            np.savez(file, facts=np.array(json.dumps(plain)), **arrays)  # pyright: ignore

    def _load(self) -> Journal:
        try:
            with np.load(self._path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            facts = json.loads(str(arrays["facts"]))
            if facts.pop("origin") != self._origin:
                raise ValueError("it was begun with other images or another configuration")
            outcome = self.plan.outcomes(self.plan.start)[0]
            likes = {"before": outcome, "best": outcome, "pattern": self.plan.start}
            trees = {name: _restored(arrays, name, like) for name, like in likes.items()}
            if "state.0" in arrays:
                trees["state"] = _restored(arrays, "state", self._state_like(facts["stage"]))
            facts["scores"] = [(step, score) for step, score in facts["scores"]]
            return Journal(**facts, **trees)
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self._path}: not what a design was stopped at ({error}): start anew with "
                "--no-resume"
            ) from None

    def _state_like(self, index: int) -> Any:
        """The state that a stage has, without taking a step."""
        stage = self.plan.stages[index]
        options = {"project": stage.project, "optimiser": stage.optimiser}
        one = lambda p, key: optimise(stage.criterion, p, n_steps=1, key=key, **options).state  # noqa: E731
        key = self._keys[index]
        return jax.eval_shape(one, self.plan.start, key)._replace(key=key)


@contextlib.contextmanager
def _held_back() -> Iterator[list[int]]:
    """Fills a list at the first Ctrl-C, for the end of a part; the second ends at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # which alone is told of signals
        return

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _digest(config: Config, images: Images) -> str:
    """Of what a design is begun with."""
    whole = hashlib.sha256(json.dumps(dataclasses.asdict(config)).encode())
    for stack in (images.train, images.validation):
        whole.update(np.asarray(stack).tobytes())
    return whole.hexdigest()


def _restored(arrays: dict[str, np.ndarray], name: str, like: Any) -> Any:
    """A tree of stored arrays in the structure of another."""
    leaves, structure = jax.tree.flatten(like)
    stored = [jnp.asarray(arrays[f"{name}.{i}"]) for i in range(len(leaves))]
    tree = from_numbers(jax.tree.unflatten(structure, stored), like)
    for leaf, wanted in zip(jax.tree.leaves(tree), leaves, strict=True):
        if (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"{name} has {leaf.dtype}{leaf.shape}, not {wanted.dtype}{wanted.shape}"
            )
    return tree
