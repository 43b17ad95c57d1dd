"""What a method is: from a `Measurement` and its `Settings` to an `Outcome`."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array

from jaxrecon.core import Status


@runtime_checkable
class Report(Protocol):
    """Takes the index and the info of every step; see `cli._terminal.Report`."""

    def __call__(self, i: Any, info: Any) -> None: ...

    def begin_at(self, i: int) -> None:
        """What comes counts from step `i` on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One image's worth of data with its forward model.

    Attributes:
        operator: the forward model A, a `LinearOperator`; of `ct` for the methods of CT.
        data: y.
        weights: of y, or None. In CT inverse variances; in non-Cartesian MRI the area of k-space
            that each sample stands for, which makes the adjoint an image (gridding).
        noise: estimates the standard deviation of the data, in CT where the weight is one; of the
            real and of the imaginary part of complex ones. Called by methods that ask for it; None
            where nobody knows.
    """

    operator: Any
    data: Array
    weights: Array | None = None
    noise: Callable[[], float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What may be set of a method.

    Attributes:
        n_iter: iterations at most.
        strength: of the regularisation.
        trust: in a denoiser, DPIR's λ; less of it where most singular values are far below the
            norm, as in CT.
        tol: to stop at; 0 does all iterations.
        model: the shipped network, by name, of methods that need one.
        samples: how many, of methods that draw them.
    """

    n_iter: int = 0
    strength: float = 0.0
    trust: float = 0.23
    tol: float = 1e-4
    model: str | None = None
    samples: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """An image, and for iterative methods how the run ended.

    `samples` has a leading axis and the image's shape, of methods that draw them; the image is
    their mean, and `noise` what they took for the data's.
    """

    image: Array
    status: Status | None = None
    n_iter: int | None = None
    samples: Array | None = None
    noise: float | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table.

    With a `sampling`, "Cartesian" or "non-Cartesian", it is only for that; with a `network`,
    "reconstruction" or "denoising", it needs a shipped network for that task.
    """

    name: str
    modality: str
    summary: str
    reconstruct: Callable[[Measurement, Settings, Report | None], Outcome]
    defaults: Settings
    sampling: str | None = None
    network: str | None = None

    @property
    def scope(self) -> str:
        """What it is for, in words."""
        return ", ".join(filter(None, (self.modality.upper(), self.sampling)))

    def settings(self, **given: Any) -> Settings:
        """The defaults, but for the settings given (None means default)."""
        chosen = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(self.defaults, **chosen)

    def n_steps(self, **given: Any) -> int:
        """How many steps are reported at most."""
        settings = self.settings(**given)
        return settings.n_iter * max(settings.samples, 1)

    def __call__(
        self, measurement: Measurement, report: Report | None = None, **settings: Any
    ) -> Outcome:
        """Runs with the settings given."""
        return self.reconstruct(measurement, self.settings(**settings), report)
