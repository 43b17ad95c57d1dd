"""Plug-and-play: denoisers in place of proximal maps, their schedules and diagnosis."""

from jaxrecon.solvers.plug_and_play._run import Diagnosis, diagnose, dpir, plug_and_play
from jaxrecon.solvers.plug_and_play._schedule import Schedule, dpir_schedule

__all__ = ["Diagnosis", "Schedule", "diagnose", "dpir", "dpir_schedule", "plug_and_play"]
