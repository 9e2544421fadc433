"""The house as CONTRIBUTING.md describes it: which rooms there are, and which way imports run."""

import ast
import inspect
import re
from pathlib import Path

import mypy.api
import pytest

import qbjax as qb

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qbjax"


def table():
    """The packages of the table from top to bottom, each with its files from top to bottom."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| package |")[2]
    rows = [line.split("|")[1:4] for line in text.partition("\n\n")[0].splitlines()[2:]]
    return {name.strip(" `"): re.findall(r"`(\w+)`", listed) for name, _, listed in rows}


def places():
    """Every module as (package, file), from the top of the house to the bottom."""
    return [(name, file) for name, listed in table().items() for file in listed or [""]]


def place_of(module):
    """Where a module such as "qbjax.sweeps.grid", or a name in it, belongs."""
    parts = module.split(".")[1:]
    if parts and (PACKAGE / f"{parts[0]}.py").is_file():
        return parts[0], ""
    if not parts or not (PACKAGE / parts[0]).is_dir():
        return "__init__", ""
    is_file = len(parts) > 1 and (PACKAGE / parts[0] / f"{parts[1]}.py").is_file()
    return parts[0], parts[1] if is_file else "__init__"


def imported(path):
    """Where the imports of a file lead, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (place_of(name) for name in names if name.split(".")[0] == "qbjax")


def path_of(place):
    name, file = place
    return PACKAGE / name / f"{file}.py" if file else PACKAGE / f"{name}.py"


def upwards(place, path):
    """The imports of a file that lead upwards, or to itself, when it stands at a place."""
    order = {each: number for number, each in enumerate(places())}
    return [other for other in imported(path) if order[other] <= order[place]]


def test_every_file_is_in_the_table_once():
    there = [path for path in PACKAGE.rglob("*.py") if path.parent == PACKAGE or path.stem]
    assert sorted(map(path_of, places())) == sorted(there)


def test_the_house_is_small_enough_to_see():
    assert len(set(table()) - {"__init__", "__main__", "_version"}) <= 12
    long = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert max(long.values()) <= 400, long


def body_lines(function):
    """The lines of a function without its docstring."""
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return function.end_lineno - first.lineno + 1


def test_functions_fit_a_screen():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                assert body_lines(node) <= 60, (path.name, node.name)


def test_imports_run_downwards():
    assert [other for place in places() for other in upwards(place, path_of(place))] == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("model", "terms"), "from qbjax.model.star_battery import StarBattery"),
        (("model", "terms"), "from qbjax.model import star_battery"),
        (("generator", "lindblad"), "from qbjax.steady.steady_state import steady_state"),
        (("generator", "lindblad"), "import qbjax.steady.direct"),
        (("sweeps", "grid"), "def late():\n    import qbjax as qb"),
        (("steady", "result"), "from qbjax.steady.result import SteadyState"),
    ],
)
def test_an_upward_import_is_seen(place, line, tmp_path):
    path = tmp_path / "file.py"
    path.write_text(path_of(place).read_text(encoding="utf-8") + line + "\n")
    assert len(upwards(place, path)) == 1


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


SHAPES = [
    name
    for name, function in vars(qb.shapes).items()
    if inspect.isfunction(function) and function.__module__ == qb.shapes.__name__
    if not name.startswith("_")
]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_documented(name):
    text = inspect.getdoc(getattr(qb.shapes, name))
    assert all(f"{part}\n-----" in text for part in ("Parameters", "Raises", "Examples"))


def test_only_public_names_are_offered():
    assert set(dir(qb)) == {*qb.__all__, "__version__"}


@pytest.mark.parametrize("name", sorted(set(qb.__all__) - {"plot", "shapes"}))
def test_public_names_are_documented(name):
    public = getattr(qb, name)
    text = inspect.getdoc(public)
    assert f"`{name}`" in qb.__doc__
    assert "Examples\n-----" in text
    if inspect.isfunction(public) and inspect.signature(public).parameters:
        assert "Parameters\n-----" in text
        assert "Returns\n-----" in text or text.startswith("Return a ")


SCRIPT = """
import jax
import qbjax as qb

state = qb.steady_state(qb.StarBattery(N=4, F=0.5))
print(state.energy.round(3), state.battery.shape)
curve = qb.evolve(qb.StarBattery(N=4, F=0.5), [0.0, 2.0, 200.0], save="energy")
print(curve.energy.round(3))
best = qb.optimal_dephasing(qb.StarBattery(N=4, F=0.5))
models = qb.StarBattery(N=[1, 2], F=0.5, gamma_C=0.3, N_max=2)
tau = qb.charging_time(models, "decay_rate", min_weight=1e-2).tau
dataset = qb.sweep(
    qb.StarBattery, {"N": [1, 2], "F": [0.5]}, ["energy", qb.grad_of("energy", "F")]
)
field = qb.Term(0.1, battery=[[0.0, 1.0], [1.0, 0.0]])
drive = qb.PiecewiseConstant([1.0], [0.2, 0.4])
driven = qb.StarBattery(N=1, F=drive, kappa=0.1, hamiltonian=field)
print(qb.ergotropy([[0.5, 0.0], [0.0, 0.5]]))
with qb.plot.figure(8.6, 6.0) as (figure, axes):
    qb.plot.lines(axes[0, 0], dataset.energy, over="N")
slope = jax.grad(lambda F: qb.steady_state(qb.StarBattery(N=4, F=F)).ergotropy)(0.5)
"""


def test_a_typed_script_passes_mypy(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    said, _, status = mypy.api.run(["--strict", str(tmp_path / "script.py")])
    assert status == 0, said
