"""qbjax: GPU-accelerated, differentiable simulation of dephased quantum-battery charging.

Models: `StarBattery`, with losses, detunings and other chargers beside the paper's own.
Chargers: `qubit`, `cavity`, `spin`. Another battery than qubits: `oscillator`.
Terms of your own: `Term`, `Jump`, `LocalJump`, from the battery operators `identity`,
`excitations`, `J_z`, `J_minus`, `J_plus`, other functions or matrices.
Parameters that depend on time: `Pulse`, `PiecewiseConstant`; shapes of these to optimise, and what
they cost, in `shapes`.
Solvers: `steady_state` and `evolve`, which return a `SteadyState` and a `Trajectory`.
Charging: `charging_time`, `decay_rate`, `optimal_dephasing`, which return a `ChargingTime`, a rate
and an `OptimalDephasing`.
What charging costs, how long a charge lasts, and what sharing a charger gains: `energetics`,
`storage` and `advantage`, which return an `Energetics`, a `Storage` and an `Advantage`.
The best parameters for any figure of merit: `optimize`, which returns an `Optimum`; the shortest
time in which they reach a target: `shortest_time`, which returns a `ShortestTime`.
Grids of parameters: `sweep`, with `grad_of` for derivatives; pictures of them in `plot`.
Figures of merit, on plain arrays: `energy`, `ergotropy`, `ergotropy_ratio`, `passive_state`,
`passive_energy`, `coherent_ergotropy`, `incoherent_ergotropy`, `capacity`, `purity`, `entropy`,
`fidelity`, `average_power`, `instantaneous_power`; with noise on single qubits, on a `LadderState`.
Of fluctuations: `energy_variance`, `work_moments`, `free_energy_bound`. Of charger and battery
together: `daemonic_ergotropy`, `joint_ergotropy`, `mutual_information`.
Trial states: `fit_bose_einstein`, `fit_coherent_mixture`.
To QuTiP and back: `to_qutip`, `from_qutip`.
Errors: `ArgumentError`, `SolveError`; a solve reports a `Status`.
Compiled programs that outlive the process: `use_cache`. Versions and devices: `about`.

Importing qbjax switches JAX to double precision, which the physics needs: decay rates of 1e-9 are
ordinary here. The environment variable QBJAX_ENABLE_X64=0, set before, keeps it as it is.
"""

import os

import jax

if os.environ.get("QBJAX_ENABLE_X64", "1") != "0":
    jax.config.update("jax_enable_x64", True)

from qbjax import plotting as plot
from qbjax._version import __version__ as __version__
from qbjax.basis.states import LadderState
from qbjax.charging.advantage import Advantage, advantage
from qbjax.charging.best_parameters import Optimum, optimize
from qbjax.charging.dephasing import OptimalDephasing, optimal_dephasing
from qbjax.charging.energetics import Energetics, energetics
from qbjax.charging.shortest_time import ShortestTime, shortest_time
from qbjax.charging.storage import Storage, storage
from qbjax.charging.times import ChargingTime, charging_time, decay_rate
from qbjax.common.about import about
from qbjax.common.cache import use_cache
from qbjax.common.checks import ArgumentError, SolveError, Status
from qbjax.evolution.evolve import evolve
from qbjax.evolution.result import Trajectory
from qbjax.model import shapes
from qbjax.model.batteries import oscillator
from qbjax.model.battery_operators import J_minus, J_plus, J_z, excitations, identity
from qbjax.model.chargers import cavity, qubit, spin
from qbjax.model.pulses import PiecewiseConstant, Pulse
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import Jump, LocalJump, Term
from qbjax.states.charger_and_battery import (
    daemonic_ergotropy,
    joint_ergotropy,
    mutual_information,
)
from qbjax.states.ergotropy import (
    capacity,
    coherent_ergotropy,
    energy,
    ergotropy,
    ergotropy_ratio,
    incoherent_ergotropy,
    passive_energy,
    passive_state,
)
from qbjax.states.fidelity import entropy, fidelity, purity
from qbjax.states.fluctuations import energy_variance, free_energy_bound, work_moments
from qbjax.states.interchange import from_qutip, to_qutip
from qbjax.states.power import average_power, instantaneous_power
from qbjax.states.trial_states import fit_bose_einstein, fit_coherent_mixture
from qbjax.steady.result import SteadyState
from qbjax.steady.steady_state import steady_state
from qbjax.sweeps.observables import grad_of
from qbjax.sweeps.sweep import sweep

__all__ = [
    "Advantage",
    "ArgumentError",
    "ChargingTime",
    "Energetics",
    "J_minus",
    "J_plus",
    "J_z",
    "Jump",
    "LadderState",
    "LocalJump",
    "OptimalDephasing",
    "Optimum",
    "PiecewiseConstant",
    "Pulse",
    "ShortestTime",
    "SolveError",
    "StarBattery",
    "Status",
    "SteadyState",
    "Storage",
    "Term",
    "Trajectory",
    "about",
    "advantage",
    "average_power",
    "capacity",
    "cavity",
    "charging_time",
    "coherent_ergotropy",
    "daemonic_ergotropy",
    "decay_rate",
    "energetics",
    "energy",
    "energy_variance",
    "entropy",
    "ergotropy",
    "ergotropy_ratio",
    "evolve",
    "excitations",
    "fidelity",
    "fit_bose_einstein",
    "fit_coherent_mixture",
    "free_energy_bound",
    "from_qutip",
    "grad_of",
    "identity",
    "incoherent_ergotropy",
    "instantaneous_power",
    "joint_ergotropy",
    "mutual_information",
    "optimal_dephasing",
    "optimize",
    "oscillator",
    "passive_energy",
    "passive_state",
    "plot",
    "purity",
    "qubit",
    "shapes",
    "shortest_time",
    "spin",
    "steady_state",
    "storage",
    "sweep",
    "to_qutip",
    "use_cache",
    "work_moments",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
