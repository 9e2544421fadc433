"""The parameters of a model: the one table that constructor, sweeps, pictures and verbs read.

A new dissipator of the battery is one row here, its field and argument in `StarBattery`, and what
is stationary under it in `qbjax.steady.nullspace`.
"""

from dataclasses import dataclass

from qbjax.model.battery_operators import Battery, J_minus, J_plus, J_z


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    Attributes
    ----------
    symbol
        In LaTeX.
    help
        What it is, with its default, as the command line says it.
    units
        In words; "1" for a pure number.
    range
        "real", "not negative" or "positive".
    is_loss
        Whether it is a loss beside the dephasing of the charger: absent unless given, and beyond
        the exact solution.
    jump
        The operator whose collective jump of the battery it is the rate of, if it is one.
    local
        The matrix whose jump on every battery qubit it is the rate of, by rows, if it is one.
    """

    symbol: str
    help: str
    units: str = "unit of g"
    range: str = "real"
    is_loss: bool = False
    jump: Battery | None = None
    local: tuple[tuple[float, ...], ...] | None = None


def _loss(symbol: str, help: str, units: str = "unit of g") -> Parameter:
    return Parameter(symbol, f"{help} (default: none)", units, "not negative", is_loss=True)


def _collective(symbol: str, help: str, jump: Battery) -> Parameter:
    text = f"rate of collective {help} of the battery (default: none)"
    return Parameter(symbol, text, "unit of g", "not negative", is_loss=True, jump=jump)


def _local(symbol: str, help: str, matrix: tuple[tuple[float, ...], ...]) -> Parameter:
    text = f"rate of {help} of every battery qubit (default: none)"
    return Parameter(symbol, text, "unit of g", "not negative", is_loss=True, local=matrix)


PARAMETERS = {
    "F": Parameter("F", "drive strength"),
    "g": Parameter("g", "charger-battery coupling (default 1)"),
    "gamma_C": Parameter(
        r"\gamma_C", "dephasing rate of the charger (default 1)", range="not negative"
    ),
    "omega_B": Parameter(
        r"\omega_B", "frequency of the battery qubits (default 1)", range="positive"
    ),
    "omega_C": Parameter(r"\omega_C", "frequency of the charger (default: omega_B)"),
    "omega_d": Parameter(r"\omega_d", "frequency of the drive (default: omega_B)"),
    "kappa": _loss(r"\kappa", "relaxation rate of the charger"),
    "nbar": _loss(r"\bar{n}", "thermal occupation of the charger's bath", units="1"),
    "Gamma_down": _collective(r"\Gamma_\downarrow", "decay", J_minus),
    "Gamma_up": _collective(r"\Gamma_\uparrow", "pumping", J_plus),
    "Gamma_z": _collective(r"\Gamma_z", "dephasing", J_z),
    "gamma_down": _local(r"\gamma_\downarrow", "decay", ((0.0, 1.0), (0.0, 0.0))),
    "gamma_up": _local(r"\gamma_\uparrow", "pumping", ((0.0, 0.0), (1.0, 0.0))),
    "gamma_z": _local(r"\gamma_z", "dephasing", ((-0.5, 0.0), (0.0, 0.5))),
}

# The operators of the battery's jumps, of all qubits together and of each, by their rates' names.
COLLECTIVE = {name: row.jump for name, row in PARAMETERS.items() if row.jump is not None}
LOCAL = {name: row.local for name, row in PARAMETERS.items() if row.local is not None}
LOSSES = tuple(name for name, row in PARAMETERS.items() if row.is_loss)
NOT_NEGATIVE = tuple(name for name, row in PARAMETERS.items() if row.range == "not negative")
