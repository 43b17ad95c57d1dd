"""Sampling patterns from a configuration file: `design`."""

from jaxrecon.cli.design._command import design
from jaxrecon.cli.design._config import example

__all__ = ["design", "example"]
