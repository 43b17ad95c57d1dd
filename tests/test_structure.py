"""The shape of the code base: layers, public names, sizes, what an import costs, metadata.

Every check is a function that takes what it judges and returns the violations as lines of text; the
second half of the file shows each of them something wrong.
"""

import ast
import importlib
import json
import os
import subprocess
import sys
import textwrap
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import jaxrecon

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jaxrecon"
SOURCES = tuple(ROOT / name for name in ("jaxrecon", "tests", "benchmarks"))

# What a folder, or a file at the top, may import: itself and what stands in a lower layer. The
# names of array roles in `_typing` stand below all else.
LAYERS = {
    **dict.fromkeys(["__init__", "_typing"], -1),
    **dict.fromkeys(["metrics"], 0),
    **dict.fromkeys(["core", "viz"], 1),
    **dict.fromkeys(["physics", "functionals"], 2),
    **dict.fromkeys(["solvers", "io", "data"], 3),
    **dict.fromkeys(["posterior", "nets"], 4),
    **dict.fromkeys(["training"], 5),
    **dict.fromkeys(["design"], 6),
    **dict.fromkeys(["cli"], 7),
    **dict.fromkeys(["__main__"], 8),
}

MAX_FILES = 10
MAX_LINES = 400
MAX_IMPORT_SECONDS = 1.0
EXTRAS = {
    "grain",
    "h5py",
    "matplotlib",
    "nibabel",
    "nilearn",
    "PIL",
    "pydicom",
    "pypulseq",
    "rich",
    "scipy",
    "tensorboardX",
    "tifffile",
    "typer",
}
NETWORKS = ("jaxrecon.nets", "jaxrecon.training", "jaxrecon.cli.learn", "jaxrecon.cli.design")
FLAX = {"flax", "optax", "orbax"}


# ------------------------------------------------------------------------------------- the checks


def imports(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, inside functions too, absolute, each with its line.

    ``from a.b import c`` gives ``a.b.c``: whether c is a module or a name makes no difference to
    its layer.
    """
    inside = (package.name, *path.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def upward_imports(package: Path, layers: dict[str, int]) -> list[str]:
    """Imports within the package that do not point to a lower layer, and parts without a layer."""
    wrong = []
    for path in python_files(package):
        part = _part(path.relative_to(package))
        if part not in layers:
            wrong.append(f"{part} has no layer")
            continue
        for name, line in imports(path, package):
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if top != package.name or target in ("", part) or target.startswith("__version"):
                continue
            if layers.get(target, len(layers)) >= layers[part]:
                wrong.append(f"{path.relative_to(package)}:{line} {part} imports {name}")
    return wrong


def _part(relative: Path) -> str:
    """The folder, or the file at the top, to which a file belongs."""
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def private_jax(folder: Path) -> list[str]:
    """Uses of JAX's private modules, imported or reached through an attribute."""
    wrong = []
    for path in python_files(folder):
        names = [name for name, _ in imports(path, folder)]
        tree = ast.walk(ast.parse(path.read_text()))
        names += [ast.unparse(node) for node in tree if isinstance(node, ast.Attribute)]
        if any(name.startswith(("jax._src", "jaxlib._")) for name in names):
            wrong.append(f"{path.relative_to(folder)} uses private JAX")
    return wrong


def undocumented(module: types.ModuleType) -> list[str]:
    """What is wrong with the public names of a module: missing, not unique, without a docstring.

    A dataclass or a named tuple without a docstring gets its signature for one, which says nothing.
    """
    names = getattr(module, "__all__", None)
    if names is None:
        return [f"{module.__name__} has no __all__"]
    wrong = [f"{module.__name__} names {n} twice" for n in set(names) if names.count(n) > 1]
    for name in names:
        if not hasattr(module, name):
            wrong.append(f"{module.__name__}.{name} does not exist")
        elif not _documented(getattr(module, name)):
            wrong.append(f"{module.__name__}.{name} has no docstring")
    return wrong


def _documented(value: object) -> bool:
    if not callable(value) and not isinstance(value, types.ModuleType):
        return True  # a constant is documented where it stands
    text = (value.__doc__ or "").strip()
    return len(text.split()) > 1 and not text.startswith(f"{getattr(value, '__name__', '')}(")


def oversized(folder: Path) -> list[str]:
    """Folders with too many files and files with too many lines."""
    paths = list(python_files(folder))
    wrong = []
    for place in sorted({path.parent for path in paths}):
        n_files = sum(path.parent == place and path.stem != "__init__" for path in paths)
        if n_files > MAX_FILES:
            wrong.append(f"{place.relative_to(folder.parent)} has {n_files} files")
    for path in paths:
        n_lines = len(path.read_text().splitlines())
        if n_lines > MAX_LINES:
            wrong.append(f"{path.relative_to(folder.parent)} has {n_lines} lines")
    return wrong


# Runs in a process of its own: imports jax, then the packages, and says what that changed.
_PROBE = """
import importlib, json, os, sys, time
import jax
modules, config, environment = set(sys.modules), dict(jax.config.values), dict(os.environ)
def waited():  # for a processor, on a busy machine; Linux alone says
    try:
        return int(open("/proc/self/schedstat").read().split()[1]) / 1e9
    except OSError:
        return 0.0
start, before = time.perf_counter(), waited()
for name in sys.argv[1:]:
    importlib.import_module(name)
seconds = time.perf_counter() - start - (waited() - before)
changed = [k for k, v in jax.config.values.items() if k in config and config[k] != v]
changed += ["environment"] if dict(os.environ) != environment else []
try:
    jax.config.update("jax_num_cpu_devices", 2)  # refused once JAX has done work
except RuntimeError:
    changed.append("started JAX's back end")
loaded = sorted({m.split(".")[0] for m in set(sys.modules) - modules})
print(json.dumps({"seconds": seconds, "changed": changed, "loaded": loaded}))
"""


def import_effects(packages: list[str], path: Path) -> dict:
    """Seconds beyond `import jax`, settings changed and modules loaded by importing packages."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *packages],
        env={**environment, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def python_files(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.rglob("*.py")))


def packages(folder: Path) -> list[str]:
    """The dotted names of a package and of all packages in it."""
    places = sorted(path.parent for path in folder.rglob("__init__.py"))
    return [".".join([folder.name, *place.relative_to(folder).parts]) for place in places]


# ------------------------------------------------------------------------------------ the project


def test_imports_point_downwards():
    assert upward_imports(PACKAGE, LAYERS) == []


@pytest.mark.parametrize("folder", SOURCES, ids=lambda folder: folder.name)
def test_no_private_jax(folder):
    assert private_jax(folder) == []


@pytest.mark.parametrize("name", packages(PACKAGE))
def test_public_names_exist_and_are_documented(name):
    assert undocumented(importlib.import_module(name)) == []


@pytest.mark.parametrize("folder", SOURCES, ids=lambda folder: folder.name)
def test_folders_and_files_stay_small(folder):
    assert oversized(folder) == []


def test_importing_is_quick_and_changes_nothing():
    light = [name for name in packages(PACKAGE) if not name.startswith(NETWORKS)]
    seconds = []
    while len(seconds) < 4 and min(seconds, default=2.0) > MAX_IMPORT_SECONDS:
        effects = import_effects(light, ROOT)
        assert effects["changed"] == []
        assert (EXTRAS | FLAX).isdisjoint(effects["loaded"])
        seconds.append(effects["seconds"])
    assert min(seconds) < MAX_IMPORT_SECONDS


def test_importing_networks_changes_nothing():
    """Flax alone takes a second, and loads rich: only what is built on it waits for it."""
    effects = import_effects([n for n in packages(PACKAGE) if n.startswith(NETWORKS)], ROOT)
    assert effects["changed"] == []
    assert (EXTRAS - {"rich"}).isdisjoint(effects["loaded"])


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", ["jax", "jaxlib"])
def test_versions_of_jax_known_to_be_wrong_are_excluded(name):
    wanted = {r.name: r.specifier for r in map(Requirement, _project()["dependencies"])}[name]
    allowed = {v: wanted.contains(v) for v in ("0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.2")}
    assert allowed == {
        "0.10.0": False,
        "0.10.1": True,
        "0.10.2": False,
        "0.11.0": False,
        "0.11.2": True,
    }


def test_version_typing_marker_and_licence():
    project = _project()
    assert project["version"] == jaxrecon.__version__
    assert (PACKAGE / "py.typed").is_file()
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


# --------------------------------------------------------------- each check meets something wrong


def write(folder: Path, files: dict[str, str]) -> Path:
    """A fabricated package."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


@pytest.mark.parametrize(
    "statement",
    [
        "import jaxrecon.solvers",
        "from jaxrecon import solvers",
        "from jaxrecon.solvers.linear._cg import cg",
        "from ...solvers import cg",
        "from ... import solvers",
        "def late():\n    from jaxrecon import cli",
        "from jaxrecon.functionals import L1",  # a neighbour in the same layer
        "import jaxrecon.elsewhere",  # no layer at all
    ],
)
def test_an_upward_import_is_seen(tmp_path, statement):
    package = write(tmp_path / "jaxrecon", {"physics/ct/_a.py": statement})
    assert len(upward_imports(package, LAYERS)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "from jaxrecon.core import operator",
        "from ...core import operator",
        "from . import _b",
        "from ..mri import sense",
        "from jaxrecon import __version__, metrics",
        "import jax",
        "from jaxrecon_other import solvers",
    ],
)
def test_a_downward_import_passes(tmp_path, statement):
    package = write(tmp_path / "jaxrecon", {"physics/ct/_a.py": statement})
    assert upward_imports(package, LAYERS) == []


def test_a_folder_without_a_layer_is_seen(tmp_path):
    package = write(tmp_path / "jaxrecon", {"extra/_a.py": "import jax"})
    assert upward_imports(package, LAYERS) == ["extra has no layer"]


@pytest.mark.parametrize(
    "text", ["from jax._src import core", "import jax\nx = jax._src.core", "import jax._src.lax"]
)
def test_private_jax_is_seen(tmp_path, text):
    assert len(private_jax(write(tmp_path / "p", {"a.py": text}))) == 1


def test_undocumented_names_are_seen():
    source = """
        from typing import NamedTuple
        import dataclasses
        __all__ = ["missing", "bare", "Plain", "Pair", "good", "good", "constant"]
        constant = 1
        def bare(): "Bare."
        @dataclasses.dataclass
        class Plain:
            x: int = 0
        class Pair(NamedTuple):
            x: int
        def good(): "Says what it does."
    """
    module = types.ModuleType("m")
    exec(textwrap.dedent(source), module.__dict__)
    assert undocumented(module) == [
        "m names good twice",
        "m.missing does not exist",
        "m.bare has no docstring",
        "m.Plain has no docstring",
        "m.Pair has no docstring",
    ]
    assert undocumented(types.ModuleType("n")) == ["n has no __all__"]


def test_large_folders_and_files_are_seen(tmp_path):
    many = {f"_{i}.py": "" for i in range(MAX_FILES + 1)}
    package = write(tmp_path / "p", {"__init__.py": "", "sub/__init__.py": "\n" * 401, **many})
    assert oversized(package) == ["p has 11 files", "p/sub/__init__.py has 401 lines"]


def test_what_an_import_does_is_seen(tmp_path):
    busy = """
        import os, time
        import jax, jax.numpy as jnp
        import matplotlib
        jax.config.update("jax_enable_x64", True)
        os.environ["BUSY"] = "1"
        jnp.zeros(3).block_until_ready()
        time.sleep(0.2)
    """
    write(tmp_path, {"busy/__init__.py": busy, "matplotlib.py": ""})
    effects = import_effects(packages(tmp_path / "busy"), tmp_path)
    assert {"jax_enable_x64", "environment", "started JAX's back end"} <= set(effects["changed"])
    assert not EXTRAS.isdisjoint(effects["loaded"])
    assert effects["seconds"] > 0.2
