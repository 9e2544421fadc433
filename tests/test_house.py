"""The house as CONTRIBUTING.md describes it: which rooms there are, and which way imports run."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import qbjax as qb

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qbjax"


def rooms():
    """The rooms of the table, from the top of the house to the bottom."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| room |")[2]
    lines = text.partition("\n\n")[0].splitlines()[2:]
    return [room for line in lines for room in re.findall(r"`(\w+)`", line.split("|")[1])]


def room_of(module):
    """The room that a module such as "qbjax.sweeps.grid" belongs to."""
    parts = module.split(".")[1:]
    known = parts and ((PACKAGE / parts[0]).is_dir() or (PACKAGE / f"{parts[0]}.py").is_file())
    return parts[0] if known else "__init__"


def imported(path):
    """The rooms that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (room_of(name) for name in names if name.split(".")[0] == "qbjax")


def files(room):
    folder = PACKAGE / room
    return sorted(folder.glob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]


def test_every_room_is_in_the_table_once():
    there = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert sorted(rooms()) == sorted(there - {"__main__"})


def test_imports_run_downwards():
    order = {room: place for place, room in enumerate(rooms())}
    upwards = [
        f"{path.name} imports {other}"
        for room in order
        for path in files(room)
        for other in imported(path)
        if other != room and order[other] <= order[room]
    ]
    assert upwards == []
    # The check sees imports at all.
    assert {"models", "operators", "terms"} <= set(imported(PACKAGE / "lindblad.py"))
    assert "__init__" in imported(PACKAGE / "paper" / "optima.py")


def test_nothing_is_imported_by_a_star_or_relatively():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                assert node.names[0].name != "*", path


PICTURES = ("charging_curve", "charging_time", "draw_sweep", "figure", "heatmap", "lines")


@pytest.mark.parametrize("name", [*PICTURES, "scaling", "tomogram"])
def test_pictures_have_examples(name):
    assert "Examples\n-----" in inspect.getdoc(getattr(qb.plot, name))


@pytest.mark.parametrize("name", sorted(set(qb.__all__) - {"plot"}))
def test_public_names_are_documented(name):
    public = getattr(qb, name)
    text = inspect.getdoc(public)
    assert f"`{name}`" in qb.__doc__
    assert "Examples\n-----" in text
    if inspect.isfunction(public) and inspect.signature(public).parameters:
        assert "Parameters\n-----" in text
        assert "Returns\n-----" in text or text.startswith("Return a ")
