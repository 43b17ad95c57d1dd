"""Being asked to stop: schedulers send SIGTERM some time before they kill.

One process notes the signal, and the loop looks at the note after each step. Several processes must
stop at the same step: there JAX's coordination service takes the signal, from whichever process
got it, and agrees on the step.
"""

import contextlib
import signal
import threading
from typing import Any

import jax

PREEMPTED = 143
"""The exit status of a program that was asked to stop and saved: 128 + SIGTERM, the shell's way."""


class Preempted(SystemExit):
    """Raised by `Trainer.fit` after SIGTERM, when everything is saved.

    Uncaught it ends the program with exit status 143 (`PREEMPTED`) and without a traceback; the
    same program started again goes on with the next batch.
    """

    def __init__(self, step: int):
        super().__init__(PREEMPTED)
        self.step = step


class Preemption:
    """While entered: notes SIGTERM instead of dying of it."""

    def __init__(self):
        self._asked = threading.Event()
        self._before: Any = None
        self._entered = False

    def __enter__(self) -> "Preemption":
        main = threading.current_thread() is threading.main_thread()
        if main and jax.process_count() == 1:
            self._before = signal.signal(signal.SIGTERM, lambda *_: self._asked.set())
            self._entered = True
        return self

    def __exit__(self, *_: Any) -> None:
        if self._entered:
            signal.signal(signal.SIGTERM, self._before)
            self._entered = False

    def requested(self, step: int) -> bool:
        """Whether to stop after this step; the same answer in all processes."""
        if jax.process_count() == 1:
            return self._asked.is_set()
        from jax.experimental import multihost_utils

        # A RuntimeError says that the service is switched off: then nobody is told.
        with contextlib.suppress(RuntimeError):
            return multihost_utils.reached_preemption_sync_point(step)
        return False
