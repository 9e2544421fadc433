"""What is charged: N qubits, unless it is an oscillator."""

from dataclasses import dataclass

from qbjax.common.checks import require
from qbjax.model.chargers import checked_levels


@dataclass(frozen=True)
class Oscillator:
    """A harmonic oscillator as a battery, cut to levels n = 0 ... levels - 1.

    Attributes
    ----------
    levels
        Number of levels.
    """

    levels: int

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"qbjax.oscillator({self.levels})"


def oscillator(levels: int) -> Oscillator:
    """Return a harmonic oscillator as a battery, cut to a number of levels.

    It is what N qubits become for N to infinity, J_-/sqrt(N) -> a, and the other half of the
    charger-battery models of arXiv:2402.16999.

    Parameters
    ----------
    levels
        The number of levels, at least 2. A solve says `CUT_TOO_LOW` where the topmost one matters.

    Raises
    ------
    ArgumentError
        Where it is not such an integer.

    Examples
    --------
    >>> import qbjax as qb
    >>> model = qb.StarBattery(N=1, F=0.5, battery=qb.oscillator(16), kappa=0.1)
    >>> ss = qb.steady_state(model)
    >>> print(f"energy {ss.energy:.4f}, ergotropy {ss.ergotropy:.4f}")
    energy 0.2500, ergotropy 0.2500
    """
    return Oscillator(checked_levels(levels))


def battery_from_text(text: str) -> Oscillator | None:
    """Return what a text names: "qubits" or "oscillator:LEVELS".

    Raises
    ------
    ArgumentError
        Where it names nothing.

    Examples
    --------
    >>> from qbjax.model.batteries import battery_from_text
    >>> battery_from_text("oscillator:12")
    qbjax.oscillator(12)
    """
    name, _, size = str(text).partition(":")
    named = text == "qubits" or (name == "oscillator" and size.isdecimal())
    require(named, "battery", '"qubits" or "oscillator:LEVELS"', f'"{text}"')
    return None if text == "qubits" else oscillator(int(size))
