"""README's Python runs as it stands, its commands are those of CI, its methods exist."""

import re
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxrecon.cli._config import parse
from jaxrecon.cli.design._config import Config

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


NAMES = ["ct", "mri", "spiral", "deblurring", "learned", "samples", "design"]


@pytest.mark.parametrize("code", SNIPPETS, ids=NAMES)
def test_snippets_reconstruct(code):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    if "tv" in names:
        error = jnp.linalg.norm(names["tv"] - names["phantom"]) / jnp.linalg.norm(names["phantom"])
        assert error < 0.12
        assert jnp.isfinite(names["slope"])
        assert names["slope"] > 0
    elif "allowed" in names:
        assert names["after"] < 0.8 * names["before"]
        assert names["report"].ok
    elif "error" in names:
        assert names["loss"] < 0.02 * jnp.sum(jnp.abs(names["image"]) ** 2)
        step = 0.01 * names["loss"] / jnp.sum(names["slope"] ** 2)
        assert names["error"](names["spiral"] - step * names["slope"]) < names["loss"]
    elif "restored" in names:
        error = lambda x: jnp.sum((x - names["sharp"]) ** 2) / jnp.sum(names["sharp"] ** 2)  # noqa: E731
        assert error(names["restored"]) < 0.5 * error(names["y"])
        assert error(names["iterated"]) < 0.75 * error(names["y"])
        assert names["best"].losses[-1] < names["best"].losses[0]
    elif "known" in names:
        error = lambda x: jnp.linalg.norm(x - names["sharp"])  # noqa: E731
        assert error(names["known"].mean) < 0.85 * error(names["y"])
        assert jnp.abs(names["inside"] - jnp.array([0.38, 0.73])).max() < 0.05  # as README says
    elif "learned" in names:
        error = lambda x: jnp.linalg.norm(x - names["heads"][2])  # noqa: E731
        assert error(names["learned"]) < 0.6 * error(names["fbp"])
    else:
        truth, estimate = jnp.abs(names["image"]), jnp.abs(names["estimate"])
        assert jnp.linalg.norm(estimate - truth) / jnp.linalg.norm(truth) < 0.1
    jax.clear_caches()


def test_snippets_are_as_short_as_promised():
    for code in SNIPPETS:
        assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_the_configuration_is_one():
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    config = parse(Config, tomllib.loads(text), "README.md")
    assert config.trajectory.shots == 16
    assert config.design.folder == "spokes"


def test_ci_runs_the_test_command():
    (command,) = re.findall(r"^python3 -m venv .*python -m tests$", README, re.MULTILINE)
    assert ".[test]" in command
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_pictures_exist():
    for path in re.findall(r"\]\((\S+?\.(?:png|md))\)", README):
        assert (ROOT / path).is_file(), path
