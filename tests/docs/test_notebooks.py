"""The notebooks run from top to bottom at toy size, show pictures, and store no output."""

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `test` is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra `test` is not installed")
NEEDED = ("ipykernel", "matplotlib", "nibabel", "nilearn", "PIL", "pydicom")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
runs_notebooks = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (the extras `test` and `demo`)"
)

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
TOY_SIZES = {
    "ct.ipynb": 32,
    "design.ipynb": 32,
    "learned.ipynb": 32,
    "mri.ipynb": 42,
    "noncartesian.ipynb": 42,
}

# What each notebook claims, in its own variables.
CLAIMS = {
    "ct.ipynb": """
assert nrmse["TV"] < nrmse["FBP"]
assert after < 0.1 * before  # the geometry comes back
assert error["recovered"] < 1.1 * error["known"] < error["as designed"]
""",
    "design.ipynb": """
assert all(report.ok for report in reports.values())
assert abs(derivative / quotient - 1) < 0.05
assert first.info.loss[-1] < 0.1 * first.info.loss[0]
assert nrmse["learned"] < 0.97 * nrmse["spokes"]
""",
    "learned.ipynb": """
assert psnr["FBP"] < psnr["self-supervised"] < psnr["supervised"]
assert memory["K = 32, all kept"] > 4 * memory["K = 4, all kept"]
assert memory["K = 32, all kept"] > 3 * memory["K = 32, remat"]
""",
    "mri.ipynb": """
assert nrmse["TV"] < nrmse["zero-filled"] and nrmse["l1-wavelet"] < nrmse["zero-filled"]
assert abs(implicit / quotient - 1) < 0.1
assert abs(jnp.log(learned / best)) < 0.5  # at most about one point of the scan away
assert error["learned"] < error["first guess"]
""",
    "noncartesian.ipynb": """
assert all(report.ok for report in reports.values())
assert worst < 10
assert nrmse["l1-wavelet"] < nrmse["CG-SENSE"] < nrmse["gridding"]
assert abs(derivative / quotient - 1) < 0.05
assert history[-1] < history[0]
""",
}


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def stored_output(notebook: Any) -> list[str]:
    """Code cells that hold what a run left behind."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in code if cell.outputs or cell.execution_count is not None]


def resize(notebook: Any, size: int) -> None:
    """Sets SIZE in the one cell tagged `parameters`, which holds nothing else."""
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    cell.source, n = re.subn(r"^SIZE = \d+", f"SIZE = {size}", cell.source)
    assert n == 1
    assert cell.source.count("\n") == 0


def execute(notebook: Any) -> None:
    """Runs every cell in a fresh kernel; raises where a cell does.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()


def outputs(notebook: Any) -> list[Any]:
    return [out for cell in notebook.cells for out in cell.get("outputs", ())]


@pytest.fixture(autouse=True)
def _kernel(monkeypatch, tmp_path):
    """The kernel finds this checkout, and leaves no trace in the home folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # this Python's kernel, not the user's


def test_every_notebook_is_tested():
    assert {path.name for path in NOTEBOOKS.glob("*.ipynb")} == set(TOY_SIZES)


@pytest.mark.parametrize("name", TOY_SIZES)
def test_notebook_is_stored_without_output(name):
    assert stored_output(read(name)) == []


@runs_notebooks
@pytest.mark.parametrize("name", TOY_SIZES)
def test_notebook_runs(name):
    notebook = read(name)
    resize(notebook, TOY_SIZES[name])
    notebook.cells.append(nbformat.v4.new_code_cell(CLAIMS[name]))
    execute(notebook)
    noise = [out.text for out in outputs(notebook) if out.get("name") == "stderr"]
    assert noise == []  # warnings go there
    pictures = [out for out in outputs(notebook) if "image/png" in out.get("data", {})]
    assert len(pictures) >= 4


@runs_notebooks
def test_a_failing_cell_is_seen():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        execute(notebook)
    assert stored_output(notebook) == ["1 / 0"]
