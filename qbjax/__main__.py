"""The command line: every verb reads its options, calls one function and shows what came back.

With --json, standard output holds exactly one JSON object (NaN and infinity as null) and nothing
else. Wrong input gives one line on standard error and exit code 2.
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import qbjax as qb
from qbjax.charging.advantage import FIGURES as GAINS
from qbjax.charging.advantage import RESOURCES
from qbjax.charging.fit import BRANCHES
from qbjax.charging.maximum import FIGURES as MAXIMA
from qbjax.charging.times import DEFINITIONS
from qbjax.common.checks import ArgumentError, SolveError, Status, require
from qbjax.common.printing import Printed, plain
from qbjax.evolution.evolve import METHODS as EVOLVE_METHODS
from qbjax.model.batteries import battery_from_text
from qbjax.model.chargers import charger_from_text
from qbjax.model.parameters import PARAMETERS
from qbjax.paper import FIGURES, reproduce
from qbjax.paper.report import as_json
from qbjax.steady.steady_state import METHODS as STEADY_METHODS
from qbjax.sweeps.config import from_toml
from qbjax.sweeps.run import status_of
from qbjax.sweeps.sweep import summary

# What a verb returns: a solution, or values by name.
Result = Printed | dict[str, Any]

_MODEL_OPTIONS = {name: row.help for name, row in PARAMETERS.items() if name != "F"}
_STEADY_OPTIONS = ("method", "time")
_EVOLVE_OPTIONS = ("method", "rtol")
_TIME_OPTIONS = ("branch", "window", "band", "min_weight", "of", "which", "t_end")
_SAMPLES = 101
# What is printed below each other where a solution has a row of it.
_COLUMNS = (
    *("ts", "energy", "drive_work", "battery_energy", "ergotropy", "efficiency"),
    *("status", "populations"),
)
# Of a longer table so many rows are shown at either end.
_ROWS = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run `qbjax` and return the exit code: 0, or 2 where the input was wrong.

    Parameters
    ----------
    argv
        The arguments; None means those of the process.
    """
    try:
        qb.use_cache()
        options = _parser().parse_args(_as_options(sys.argv[1:] if argv is None else argv))
        with warnings.catch_warnings():
            # What a solve warns of stands in the status that is shown.
            warnings.simplefilter("ignore", UserWarning)
            result = options.verb(options)
        if options.json:
            fields = _fields(result) if isinstance(result, Printed) else result
            print(json.dumps(plain(fields)))
        else:
            _show(result)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough, as `head` has; nothing is left to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ArgumentError, SolveError, OverflowError, OSError) as error:
        print(f"qbjax: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("qbjax: interrupted", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(message)


def _parser() -> _Parser:
    parser = _Parser(prog="qbjax", description="Dephased charging of quantum batteries.")
    parser.add_argument("--version", action="version", version=f"qbjax {qb.__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, verb: Callable[[argparse.Namespace], Result], summary: str) -> _Parser:
        sub = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.set_defaults(verb=verb)
        return sub

    sub = add("steady-state", _steady_state, "The state that charging settles in.")
    _add_model(sub)
    _add_method(sub, STEADY_METHODS)
    _add_floats(sub, {"time": "show the state at this time instead"})
    sub = add("evolve", _evolve, "Energy and ergotropy against time.")
    _add_model(sub)
    _add_method(sub, EVOLVE_METHODS)
    _add_floats(sub, {"rtol": "error that an integrator allows (default 1e-8)"})
    _add_times(sub)
    sub = add("energetics", _energetics, "Work and heat against time, and how much was kept.")
    _add_model(sub)
    _add_method(sub, EVOLVE_METHODS)
    _add_times(sub)
    sub = add("storage", _storage, "How long a battery keeps its charge.")
    _add_model(sub)
    _add_times(sub)
    texts = {
        "hold-F": "drive that stays on (default 0)",
        "hold-g": "coupling that does (default 0)",
    }
    _add_floats(sub, texts)
    sub.add_argument("--charge", type=float, required=True, metavar="T", help="when charging ends")
    sub = add("advantage", _advantage, "One charger of N qubits beside N chargers of one.")
    _add_model(sub)
    sub.add_argument("--of", required=True, help=", ".join(GAINS))
    sub.add_argument("--resource", required=True, help=f"the same {', '.join(RESOURCES)}")
    _add_floats(sub, {"t-end": "last time to look at, for a power"})
    sub = add("charging-time", _charging_time, "How long charging takes, by a definition.")
    _add_model(sub)
    _add_definition(sub)
    sub = add("optimal-dephasing", _optimal_dephasing, "The dephasing rate that charges fastest.")
    _add_model(sub, without="gamma_C")
    _add_definition(sub)
    sub = add("sweep", _sweep, "Observables over a grid of parameters, into a Zarr store.")
    sub.add_argument("file", help="TOML file with a table [grid]: see docs/sweeps.md")
    sub.add_argument("--store", default=argparse.SUPPRESS, help="directory of the store")
    sub.add_argument("--overwrite", action="store_true", help="discard a sweep that is there")
    sub.add_argument("--plot", action="store_true", help="draw every observable beside the store")
    sub = add("reproduce", _reproduce, "Every figure and number of the paper.")
    sub.add_argument("--out", default="results/paper", help="directory (default results/paper)")
    sub.add_argument("--figure", action="append", help=f"{', '.join(FIGURES)}; may be repeated")
    sub.add_argument("--quick", action="store_true", help="small N only")
    sub.add_argument("--force", action="store_true", help="compute anew what is there already")
    add("info", _info, "Versions, devices and precision.")
    return parser


def _add_model(parser: _Parser, without: str | None = None) -> None:
    parser.add_argument("--N", type=_number, required=True, help="number of battery qubits")
    parser.add_argument("--F", type=float, required=True, help="drive strength")
    _add_floats(parser, {k: text for k, text in _MODEL_OPTIONS.items() if k != without})
    parser.add_argument("--charger", default="qubit", help="qubit (default), cavity:LEVELS, spin:S")
    parser.add_argument("--battery", default="qubits", help="qubits (default), oscillator:LEVELS")


def _add_floats(parser: _Parser, options: dict[str, str]) -> None:
    """Add options that take a number and have no value where they are not given."""
    for name, text in options.items():
        parser.add_argument(_flag(name), type=float, default=argparse.SUPPRESS, help=text)


def _add_method(parser: _Parser, methods: tuple[str, ...]) -> None:
    text = ", ".join(("auto (default)", *methods))
    parser.add_argument("--method", default=argparse.SUPPRESS, help=text)


def _add_times(parser: _Parser) -> None:
    times = parser.add_mutually_exclusive_group(required=True)
    times.add_argument("--t-end", type=float, metavar="T", help="last time, from 0")
    times.add_argument("--times", type=_times, metavar="A,B,C", help="the times themselves")
    parser.add_argument("--samples", type=int, help=f"number of times up to T (default {_SAMPLES})")


def _add_definition(parser: _Parser) -> None:
    parser.add_argument("--definition", default="fit", help=f"{', '.join(DEFINITIONS)}")
    parser.add_argument("--branch", default=argparse.SUPPRESS, help=f"fit: {', '.join(BRANCHES)}")
    parser.add_argument("--of", default=argparse.SUPPRESS, help=f"maximum: {', '.join(MAXIMA)}")
    parser.add_argument("--which", default=argparse.SUPPRESS, help="maximum: global, first")
    texts = {
        "window": "fit: width in time of the coarse graining",
        "band": "settling: relative band",
        "min_weight": "decay_rate: least weight of a mode, relative to the largest",
        "t_end": "maximum: last time to look at",
    }
    _add_floats(parser, texts)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        return int(number) if number.is_integer() else number


# What argparse says of text that is no number: "invalid number value".
_number.__name__ = "number"


def _times(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


_times.__name__ = "comma-separated list"


def _as_options(argv: Sequence[str]) -> list[str]:
    """Return arguments as argparse wants them: `--gamma_C` as `--gamma-C`, `--F -1` as `--F=-1`.

    It takes negative numbers, lists of them, and -inf for options.
    """
    options: list[str] = []
    for argument in argv:
        if argument.startswith("--"):
            name, *value = argument.split("=", 1)
            options.append("=".join([name.replace("_", "-"), *value]))
        elif argument.startswith("-") and options and _is_number(argument.partition(",")[0]):
            options[-1] += f"={argument}"
        else:
            options.append(argument)
    return options


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _options_of(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return those of the options that the user set, by name."""
    return {name: getattr(options, name) for name in names if name in options}


def _model(options: argparse.Namespace) -> qb.StarBattery:
    ends: dict[str, Any] = {
        "charger": charger_from_text(options.charger),
        "battery": battery_from_text(options.battery),
    }
    return qb.StarBattery(**_options_of(options, ("N", "F", *_MODEL_OPTIONS)), **ends)


def _steady_state(options: argparse.Namespace) -> Result:
    settings = _options_of(options, _STEADY_OPTIONS)
    return qb.steady_state(_model(options), **settings, state=False)


def _evolve(options: argparse.Namespace) -> Result:
    times = _chosen_times(options)
    return qb.evolve(_model(options), times, **_options_of(options, _EVOLVE_OPTIONS))


def _energetics(options: argparse.Namespace) -> Result:
    times = _chosen_times(options)
    return qb.energetics(_model(options), times, **_options_of(options, ("method",)))


def _storage(options: argparse.Namespace) -> Result:
    model = _model(options)
    hold = eqx.tree_at(
        lambda m: [m.F, m.g],
        model,
        [jnp.asarray(getattr(options, name, 0.0)) for name in ("hold_F", "hold_g")],
    )
    return qb.storage(model, options.charge, _chosen_times(options), hold=hold)


def _advantage(options: argparse.Namespace) -> Result:
    settings = _options_of(options, ("of", "resource", "t_end"))
    return qb.advantage(_model(options), **settings)


def _chosen_times(options: argparse.Namespace) -> Any:
    """Return the times of a curve, as they are given or evenly up to the last one."""
    if options.times is not None:
        require(options.samples is None, "samples", "left out beside --times", options.samples)
        return options.times
    finite = math.isfinite(options.t_end) and options.t_end > 0
    require(finite, "t_end", "positive and finite", options.t_end)
    samples = _SAMPLES if options.samples is None else options.samples
    require(samples >= 2, "samples", "at least 2", samples)
    return np.linspace(0.0, options.t_end, samples)


def _charging_time(options: argparse.Namespace) -> Result:
    settings = _options_of(options, _TIME_OPTIONS)
    return qb.charging_time(_model(options), options.definition, **settings)


def _optimal_dephasing(options: argparse.Namespace) -> Result:
    settings = _options_of(options, _TIME_OPTIONS)
    return qb.optimal_dephasing(_model(options), options.definition, progress=True, **settings)


def _sweep(options: argparse.Namespace) -> Result:
    arguments = from_toml(options.file) | _options_of(options, ("store",))
    dataset = qb.sweep(**arguments, overwrite=options.overwrite)
    statuses = {status_of(str(name)) for name in dataset} & set(dataset)
    if not any(np.any(dataset[name] == Status.OK) for name in statuses):
        raise SolveError(f"No value of the sweep can be trusted: {summary(dataset)}")
    store = Path(arguments["store"]).expanduser()
    drawn = qb.plot.draw_sweep(dataset, store.with_suffix("")) if options.plot else []
    shape = {dim: dataset.sizes[dim] for values in dataset.coords.values() for dim in values.dims}
    # On a terminal it was printed already.
    is_on_screen = sys.stderr.isatty() and not options.json
    missing = {} if is_on_screen else {"summary": summary(dataset).splitlines()}
    return {
        "store": str(store),
        "points": math.prod(shape.values()),
        **missing,
        **({"pictures": [str(path) for path in drawn]} if options.plot else {}),
        **{name: dataset.attrs[name] for name in ("method", "device", "precision", "wall_time")},
    }


def _reproduce(options: argparse.Namespace) -> Result:
    done = reproduce(options.out, options.figure, options.quick, options.force)
    return {
        "out": str(done.out),
        "computed": done.computed,
        "kept": done.kept,
        "claims": as_json(done.claims),
    }


def _info(options: argparse.Namespace) -> Result:
    return qb.about()


def _fields(solution: Printed) -> dict[str, Any]:
    """Return the attributes of a solution that are there, without matrices, its status in words.

    The evidence of a charging time adds its entries.
    """
    fields: dict[str, Any] = {}
    for name, value in vars(solution).items():
        is_there = value is not None and not (isinstance(value, dict) and not value)
        if is_there and name not in ("rho", "battery", "model", "pair", "hold"):
            fields |= value if name == "evidence" else {name: value}
    worst = Status(int(np.max(fields["status"])))
    model = getattr(solution, "model", None)
    described = {} if model is None else {"model": model.one_line}
    return fields | {"status": worst.name, "reason": worst.reason} | described


def _show(result: Result) -> None:
    """Print what a solution says of itself, or aligned lines of name and value."""
    if isinstance(result, Printed):
        print(result)
        _show_table(result)
        return
    width = max(len(name) for name in result)
    for name, value in result.items():
        print(f"{name:<{width}}  {_text(value)}")


def _show_table(solution: Printed) -> None:
    """Print the curves of a trajectory, or the populations of a state, below each other."""
    heats = {f"heat {name}": heat for name, heat in getattr(solution, "heat", {}).items()}
    values = {name: getattr(solution, name, 0.0) for name in _COLUMNS} | heats
    columns = {name: np.asarray(x) for name, x in values.items() if np.ndim(x) == 1}
    if not columns:
        return
    print("\n" + "  ".join(f"{name:>14}" for name in columns))
    rows = ["  ".join(f"{x:>14.8g}" for x in row) for row in zip(*columns.values(), strict=True)]
    if len(rows) > 2 * _ROWS:
        rows[_ROWS:-_ROWS] = [f"... and {len(rows) - 2 * _ROWS} more ..."]
    print("\n".join(rows))


def _text(value: object) -> str:
    if isinstance(value, list):
        lines = any(isinstance(part, dict) for part in value)
        return ("\n  " if lines else ", ").join(["", *map(_text, value)] if lines else value)
    if isinstance(value, dict):
        return "{agrees:<6}  {claim}: {qbjax} (paper: {paper})".format_map(value)
    if isinstance(value, str | None):
        return str(value)
    number = np.asarray(value)
    return str(number) if number.dtype.kind in "bi" else f"{number:.10g}"


if __name__ == "__main__":
    sys.exit(main())
