"""Every notebook runs, is kept without outputs, and has a rendered version that is its own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_all_are_there():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{i}-" for i in range(1, 9)]


@each
def test_it_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@each
def test_the_rendered_version_is_its_own(path):
    rendered = (FOLDER / "rendered" / f"{path.stem}.md").read_text(encoding="utf-8")
    at, cells = 0, nbformat.read(path, as_version=4).cells
    assert rendered.count("```python\n") == sum(c.cell_type == "code" for c in cells) + sum(
        c.source.count("```python\n") for c in cells
    )
    for cell in cells:
        at = rendered.find(cell.source.strip(), at)
        assert at >= 0, cell.source


@pytest.mark.notebooks
@each
def test_it_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
