"""What the methods by the exact solution share, for steady states and in time."""

from jaxtyping import PyTree

from qbjax.exact import sectors
from qbjax.exact.applies import obstacle, require_exact
from qbjax.model.method import Method
from qbjax.model.star_battery import StarBattery


class ExactMethod(Method):
    """The exact solution, sector by sector; see `qbjax.exact.sectors`."""

    name = "exact"
    side_by_side = True

    def refuses(self, model: StarBattery) -> str | None:
        """Refuse what is beyond dephasing of a qubit on battery resonance."""
        first = obstacle(model)
        return None if first is None else first.text

    def require(self, model: StarBattery) -> None:
        """Raise `ArgumentError` where it refuses the model."""
        require_exact(model, "this method")

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        return "dephasing on battery resonance: solved sector by sector"

    def start(self, model: StarBattery, rho0: object) -> tuple[PyTree, PyTree]:
        """Return the density matrix of a start; None is the empty battery."""
        return sectors.start_of(model, rho0)
