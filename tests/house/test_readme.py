"""What the README and the docstrings show is what happens."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import qbjax
from qbjax.sweeps.config import from_toml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The README and the pages that it leads to; the examples of each stand by themselves.
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
# Commands of the README that .ci/run does not run as they stand, and the part of it that does.
IN_OTHER_WORDS = {
    "pip install .": "pip install --quiet .",
    "pip install '.[test]'": "pip install --quiet '.[test]'",
}
# Every fenced block: its language, its text, and the block of text right below it.
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "bash", "text", "toml"}
# qbjax.__main__ runs the command line when it is imported.
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(qbjax.__path__, "qbjax.")
    if not m.name.endswith("__main__")
)


def blocks(language, page="README.md"):
    return [match for match in BLOCK.finditer(PAGES[page]) if match[1] == language]


@pytest.mark.notebooks
@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_print_what_the_page_says(page):
    namespace = {}
    for block in blocks("python", page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block[2], namespace)
        if block[3] is not None:
            assert printed.getvalue() == block[3]


def test_the_toml_block_is_a_sweep(tmp_path):
    (block,) = blocks("toml", "sweeps.md")
    file = tmp_path / "sweep.toml"
    file.write_text(block[2])
    given = from_toml(file)
    assert given["store"] == tmp_path / "sweep.zarr"
    small = {name: list(values)[:2] for name, values in given["grid"].items()}
    found = qbjax.sweep(**given | {"grid": small, "progress": False})
    assert found.d_ergotropy_d_F.shape == (2, 2, 2)


def test_python_example_is_there():
    assert sum(len(blocks("python", page)) for page in PAGES) >= 11
    assert len(blocks("python")) == 1


def test_the_readme_is_read_in_five_minutes():
    assert len(README.encode()) <= 10_000
    # Every page is one click away.
    assert all(f"](docs/{page})" in README for page in set(PAGES) - {"README.md"})


@pytest.mark.parametrize("page", PAGES)
def test_blocks_have_a_known_language(page):
    fences = re.findall(r"^```(.*)$", PAGES[page], re.MULTILINE)
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}


def test_shell_blocks_run_in_ci():
    ci_lines = [shlex.split(line, comments=True) for line in ci_run().splitlines()]
    words = [word for line in ci_lines for word in line]
    commands = [
        command.strip()
        for block in blocks("bash")
        for line in block[2].splitlines()
        for command in line.split("&&")
    ]
    assert len(commands) == 4
    for command in commands:
        wanted = shlex.split(IN_OTHER_WORDS.get(command, command))
        windows = (words[i : i + len(wanted)] for i in range(len(words)))
        assert wanted in windows, command


def ci_run():
    return (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/rendered/*.md"]
)
def test_links_lead_somewhere(page):
    for path in ROOT.glob(page):
        for target in re.findall(r"\]\((?!http)([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), target


def test_the_observable_of_contributing_is_one():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = (match[2] for match in BLOCK.finditer(text) if match[1] == "python")
    namespace = {"qb": qbjax}
    exec(block, namespace)
    assert namespace["dataset"].capacity.shape == (2, 1)


def test_version_of_the_picture_is_known():
    assert f"qbjax {qbjax.__version__}" in README


@pytest.mark.notebooks
@pytest.mark.parametrize("name", ["qbjax", *MODULES])
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
