"""Trajectories within a scanner's limits: towards a density, then for the error of CG-SENSE."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxrecon.cli import _terminal
from jaxrecon.cli.design._config import Config
from jaxrecon.cli.design._masks import falling_adam
from jaxrecon.cli.design._plan import Images, Plan, Stage
from jaxrecon.core import replace
from jaxrecon.core._store import whole_file
from jaxrecon.design import trajectories
from jaxrecon.physics import mri


class TrajectoryPlan(Plan):
    """Outcomes are a `trajectories.Trajectory`, which is the pattern too."""

    def __init__(self, config: Config, images: Images):
        table, settings, solver = config.trajectory, config.design, config.reconstruction
        self.images = images
        self._scanner = mri.trajectories.scanner(
            fov=table.fov, gmax=table.gmax, smax=table.smax, dwell=table.dwell_us * 1e-6
        )
        timing = self._timing(config)
        start = starting_trajectory(config, images.shape, self._scanner, timing)
        begins = "centre" if table.start == "spiral" else "rest"
        self._allowed = trajectories.limits(self._scanner, timing, images.shape, start=begins)
        self.start = self._allowed(start)
        self._error = trajectories.SenseError(
            mri.normalise_maps(mri.birdcage_maps(config.scan.coils, images.shape)),
            images.train,
            jnp.asarray(config.scan.noise),
            jnp.asarray(solver.weight),
            batch=min(settings.batch, len(images.train)),
            n_iter=solver.n_iter,
            tol=solver.tol,
            backend=table.backend,
        )
        density = trajectories.radial_density(images.shape, cutoff=table.cutoff, decay=table.decay)
        rate, first, second = settings.learning_rate or 0.5, table.density_steps, settings.n_steps
        stages = (
            (
                "density",
                first,
                trajectories.density_match(density, backend=table.backend),
                2 * rate,
            ),
            ("error", second, self._error, rate),
        )
        best = lambda pattern, best: best  # noqa: E731
        self.stages = tuple(
            Stage(name, n, best, criterion, self._allowed, falling_adam(step, n))
            for name, n, criterion, step in stages
        )

    def _timing(self, config: Config) -> trajectories.Readout:
        table = config.trajectory
        timing = trajectories.readout(
            self._scanner,
            table.readout_ms * 1e-3,
            raster=table.raster_us * 1e-6,
            n_samples=table.samples,
            n_coefficients=table.coefficients,
        )
        if timing.n_samples < 2:
            raise ValueError(
                f"trajectory.dwell_us is {table.dwell_us}, but the readout lasts "
                f"{table.readout_ms * 1e3:g} µs: expected two samples or more in a shot"
            )
        return timing

    def outcomes(self, pattern: trajectories.Trajectory) -> list[Any]:
        """Itself."""
        return [pattern]

    def reconstruct(self, outcome: Any, image: Array, key: Key[Array, ""]) -> Array:
        """CG-SENSE."""
        A = self._error.operator(outcome.samples)
        return self._error.reconstruct(A, self._error.measure(A, image[None], key))[0]

    def spread(self, outcome: Any) -> np.ndarray:
        """Of the samples alone, within the image's size, without density compensation."""
        y, x = self.images.shape
        whole = np.abs(trajectories.point_spread(outcome.samples, self.images.shape))
        return whole[y - y // 2 : y - y // 2 + y, x - x // 2 : x - x // 2 + x]

    def drawn(self, outcome: Any) -> np.ndarray:
        """Control points, which lie on the curve to within a tick."""
        return np.asarray(outcome.control) / (np.asarray(self.images.shape) / 2)

    def facts(self, outcome: Any) -> dict[str, Any]:
        """The largest gradient and slew rate, and samples that break a limit on either raster."""
        used = trajectories.usage(outcome, self._allowed)
        k, timing = np.asarray(outcome.samples), outcome.readout
        on_raster = replace(self._scanner, dwell=timing.raster)
        ticks = k[:, :: max(1, round(timing.raster / timing.dwell))]
        whole = abs(timing.raster / timing.dwell - round(timing.raster / timing.dwell)) < 1e-6
        rasters = [(k, self._scanner), *([(ticks, on_raster)] if whole else [])]
        reports = [mri.trajectories.check_limits(jnp.asarray(p), s) for p, s in rasters]
        broken = [b.count for r in reports for b in (r.gradient, r.slew) if b is not None]
        return {
            "shots": k.shape[0],
            "samples": k.shape[1],
            "readout_ms": 1e3 * timing.duration,
            "gradient_mT_per_m": float(used.gradient) * self._scanner.gmax,
            "slew_T_per_m_per_s": float(used.slew) * self._scanner.smax,
            "violations": int(sum(broken)),
        }

    def save(self, folder: Path, outcome: Any) -> list[Path]:
        """`pattern.npz` with ``samples``, `waveforms.npz`, and `waveforms.seq` with pypulseq."""
        with whole_file(folder / "pattern.npz") as file:
            np.savez(file, samples=np.asarray(outcome.samples))
        files = [folder / "pattern.npz", folder / "waveforms.npz"]
        trajectories.save_waveforms(files[1], outcome, self._scanner)
        try:
            sequence = trajectories.pulseq(outcome, self._scanner)
        except ImportError:
            return files
        except ValueError as error:  # a raster or limit that Pulseq does not allow
            _terminal.say("Pulseq", f"not written: {error}")
            return files
        unfinished = folder / "unfinished.seq"  # the package writes to names alone
        sequence.write(str(unfinished))
        unfinished.replace(folder / "waveforms.seq")
        return [*files, folder / "waveforms.seq"]


def starting_trajectory(
    config: Config, shape: tuple[int, int], scanner: Any, timing: trajectories.Readout
) -> trajectories.Trajectory:
    """Spokes or spirals.

    Raises:
        ValueError: limits that forbid them in the readout's time: which, and by how much.
    """
    table = config.trajectory
    if table.start == "radial":
        return trajectories.radial(table.shots, shape, scanner, timing)
    options: dict[str, Any] = {"density": table.density, "shared": table.shared}
    return trajectories.spiral(table.shots, shape, scanner, timing, **options)
