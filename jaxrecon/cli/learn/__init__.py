"""Training from a configuration file: `train`, `evaluate`, `export`."""

from jaxrecon.cli.learn._build import names
from jaxrecon.cli.learn._commands import evaluate, export, train
from jaxrecon.cli.learn._config import example

__all__ = ["evaluate", "example", "export", "names", "train"]
