"""``python -m jaxrecon``."""

from jaxrecon.cli import main

main()
