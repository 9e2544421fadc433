"""The charger-battery models: named physical parameters, checked once, as JAX pytrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.basis.basis import Basis
from qbjax.basis.fock import Fock
from qbjax.basis.ladder import Ladder, lowering_elements
from qbjax.basis.ladders import Ladders
from qbjax.common.checks import (
    as_array,
    is_concrete,
    require,
    require_choice,
    require_known,
)
from qbjax.common.printing import Line, Printed, span_of, text_of
from qbjax.common.types import ArrayLike
from qbjax.model.arguments import check_range, common_shape, padded_size, real
from qbjax.model.batteries import Oscillator
from qbjax.model.chargers import Charger, qubit
from qbjax.model.own_terms import (
    LARGEST_SKEWNESS,
    as_terms,
    factors,
    probing_times,
    repeated,
    require_functions,
    require_sizes,
    skewness,
    with_batch_axes,
)
from qbjax.model.parameters import LOCAL, NOT_NEGATIVE, PARAMETERS
from qbjax.model.pulses import (
    PiecewiseConstant,
    Pulse,
    Value,
    at_time,
    in_words,
    is_pulse,
    pulses_of,
)
from qbjax.model.terms import Jump, LocalJump, Term


class StarBattery(Printed):
    r"""N battery qubits around one driven charger, with dephasing and other losses.

    In the frame rotating at omega_d, with the charger basis (|g>, |e>) and the Dicke ladder |n>,

        H = Delta_C |e><e| + Delta_B n + sigma^+ (x) K + sigma^- (x) K^T,
        K = F + (g / sqrt(N)) J_-,

    and pure dephasing of the charger at rate gamma_C (jump operator |e><e|, as in Eq. (2) of the
    paper: the coherences between |g> and |e> decay at gamma_C / 2). That is all of Eqs. (1)-(2).
    The other parameters are absent by default: None makes no term, 0.0 makes one that is zero. All
    parameters are frequencies in the same unit; with hbar = 1, times come in its inverse and
    energies in the unit of omega_B.

    Parameters
    ----------
    N
        Number of battery qubits. An int fixes the shape of every array; an array of integers
        (traced, too) needs `N_max`.
    F
        Drive strength.
    g
        Charger-battery coupling, divided by sqrt(N) in H.
    gamma_C
        Dephasing rate of the charger, not negative.
    omega_B
        Frequency of the battery qubits, positive.
    omega_C, omega_d
        Frequencies of the charger and of the drive. None means equal to omega_B and leaves the
        detuning out of the model altogether. Delta_C = omega_C - omega_d, Delta_B = omega_B -
        omega_d.
    kappa, nbar
        Relaxation rate of the charger and the thermal occupation of its bath, not negative: the
        jumps sigma^- at kappa (nbar + 1) and sigma^+ at kappa nbar.
    Gamma_down, Gamma_up, Gamma_z
        Rates of collective decay, pumping and dephasing of the battery, not negative: the jumps
        J_-, J_+ and J_z.
    gamma_down, gamma_up, gamma_z
        Rates of decay, pumping and dephasing of every battery qubit by itself, not negative: the
        jumps sigma^-, sigma^+ and sigma_z/2 on each (a jump sigma_z at rate r is gamma_z = 4 r).
        With any of them, also one that is zero, states live on all ladders j = N/2, N/2 - 1, ...:
        see `qbjax.LadderState`.
    charger
        `qbjax.qubit()`, `qbjax.cavity(levels)` or `qbjax.spin(S)`. The lowering operator of the
        charger stands for sigma^-, its excitations for |e><e|.
    battery
        None: N qubits. `qbjax.oscillator(levels)`: one harmonic oscillator, with N = 1. Its a
        stands for J_-/sqrt(N), and its rates `Gamma_down`, `Gamma_up` and `Gamma_z` are those of
        the jumps a, its adjoint, and n; it has no noise on single qubits. Its ergotropy is that of
        unitaries on its own levels: `qbjax.ergotropy` of its state with space="symmetric".
    frame
        "rotating", or "lab": H is that of the resting frame, with the drive turning at omega_d.
    hamiltonian, jumps
        Terms of your own: `qbjax.Term` (their sum must be Hermitian); `qbjax.Jump` and
        `qbjax.LocalJump`.
    N_max
        Padded size: arrays have N_max + 1 ladder levels, and one compiled program serves every
        N <= N_max. Defaults to N where N is an int.

    F, g, the rates and omega_C, omega_d may be a `qbjax.Pulse` or `qbjax.PiecewiseConstant` of
    time. Parameters that are arrays are broadcast together into a batch of models, which the
    functions of qbjax take as it stands and `jax.vmap` maps over.

    Raises
    ------
    ArgumentError
        Where a parameter is out of its range (values that are traced are not looked at), or a term
        does not fit the charger or is not Hermitian.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> qb.StarBattery(N=8, F=0.5).batch_shape
    ()
    >>> qb.StarBattery(N=jnp.arange(1, 5), F=0.5, N_max=4).batch_shape
    (4,)
    """

    N: jax.Array
    F: Value
    g: Value
    gamma_C: Value
    omega_B: jax.Array
    omega_C: Value | None
    omega_d: Value | None
    kappa: Value | None
    nbar: Value | None
    Gamma_down: Value | None
    Gamma_up: Value | None
    Gamma_z: Value | None
    gamma_down: Value | None
    gamma_up: Value | None
    gamma_z: Value | None
    hamiltonian: tuple[Term, ...]
    jumps: tuple[Jump | LocalJump, ...]
    charger: Charger = eqx.field(static=True)
    battery: Oscillator | None = eqx.field(static=True)
    frame: str = eqx.field(static=True)
    N_max: int = eqx.field(static=True)

    def __init__(
        self,
        N: ArrayLike,
        F: Value,
        g: Value = 1.0,
        gamma_C: Value = 1.0,
        omega_B: ArrayLike = 1.0,
        omega_C: Value | None = None,
        omega_d: Value | None = None,
        *,
        kappa: Value | None = None,
        nbar: Value | None = None,
        Gamma_down: Value | None = None,
        Gamma_up: Value | None = None,
        Gamma_z: Value | None = None,
        gamma_down: Value | None = None,
        gamma_up: Value | None = None,
        gamma_z: Value | None = None,
        charger: Charger | None = None,
        battery: Oscillator | None = None,
        frame: str = "rotating",
        hamiltonian: Term | Sequence[Term] | None = None,
        jumps: Jump | LocalJump | Sequence[Jump | LocalJump] | None = None,
        N_max: int | None = None,
    ):
        """Check the parameters and broadcast them together."""
        arguments = locals()
        parameters = {name: arguments[name] for name in PARAMETERS}
        N = as_array(N, "N")
        self.N_max = padded_size(N, N_max)
        self.charger = qubit() if charger is None else charger
        made = "made by qbjax.qubit(), qbjax.cavity(levels) or qbjax.spin(S)"
        require(isinstance(self.charger, Charger), "charger", made, charger)
        self.battery = battery
        kinds = "None for qubits, or made by qbjax.oscillator(levels)"
        require(battery is None or isinstance(battery, Oscillator), "battery", kinds, battery)
        require_choice(frame, "frame", ("rotating", "lab"))
        self.frame = frame
        require(not is_pulse(omega_B), "omega_B", "constant in time", "a pulse")
        fixed = frame == "rotating" or not is_pulse(omega_d)
        require(fixed, "omega_d", "constant in time in the lab frame", "a pulse")
        together = nbar is None or kappa is not None
        require(together, "nbar", "given together with kappa", "given alone")
        for name in ("F", "g", "gamma_C", "omega_B"):
            require(parameters[name] is not None, name, "given", "None")
        for name, value in parameters.items():
            plain = is_pulse(value) or not callable(value)
            kind = f"of type {type(value).__name__}"
            require(plain, name, "a number or a qbjax.Pulse", kind)
        arrays = {k: real(k, v) for k, v in parameters.items() if v is not None and not is_pulse(v)}
        for name, value in parameters.items():
            check_range(name, arrays.get(name, value))
        own_terms = as_terms(hamiltonian, "hamiltonian", Term)
        own_jumps = as_terms(jumps, "jumps", Jump, LocalJump)
        multiplied = [factor for term in (*own_terms, *own_jumps) for factor in factors(term)]
        shape = common_shape({"N": N, **arrays}, multiplied)
        # The default integer type: the square root of a shorter one has single precision.
        self.N = jnp.broadcast_to(jnp.asarray(N, int), shape)
        for name, value in parameters.items():
            if name in arrays:
                setattr(self, name, jnp.broadcast_to(arrays[name], shape))
            else:
                setattr(self, name, repeated(value, shape))
        self.hamiltonian = tuple(with_batch_axes(term, shape) for term in own_terms)
        self.jumps = tuple(with_batch_axes(jump, shape) for jump in own_jumps)
        sizes = self.charger.levels, self.levels
        require_sizes(self.hamiltonian, "hamiltonian", *sizes)
        collective = [jump for jump in self.jumps if isinstance(jump, Jump)]
        for jump in collective:
            require_sizes(jump.terms, "jumps", *sizes)
        if self.battery is not None:
            one = self.N_max == 1
            require(one, "N", "1 where the battery is an oscillator", self.N_max)
            words = "without noise on single qubits where the battery is an oscillator"
            require(not self.has_local_noise, "battery", words, "given with such noise")
        if self.has_local_noise:
            require_functions(self.hamiltonian, "hamiltonian")
            for jump in collective:
                require_functions(jump.terms, "jumps")
        for t in probing_times(self.hamiltonian):
            off = skewness(self.hamiltonian, self.N, self.charger.levels, self.basis, t)
            conjugate = "Hermitian (add the conjugate of each term that is not)"
            text = f"off by {np.max(off):.3g} of its size" if is_concrete(off) else ""
            require_known(off <= LARGEST_SKEWNESS, "hamiltonian", conjugate, text)

    def _title(self) -> str:
        batch = f", a batch of {self.batch_shape}" if self.batch_shape else ""
        return f"StarBattery: {self.charger.name} charger, {self.frame} frame{batch}"

    def _lines(self) -> list[Line]:
        lines: list[Line] = [("N", self.N, f"qubits, in {self.levels} levels")]
        for name, row in PARAMETERS.items():
            value = getattr(self, name)
            lines.append((name, in_words(value), "" if row.units == "1" else f"({row.units})"))
        for name in ("hamiltonian", "jumps"):
            terms = getattr(self, name)
            lines.append((name, f"{len(terms)} of your own" if terms else None, ""))
        return lines

    @property
    def one_line(self) -> str:
        """The model in one line, with what it has beyond its defaults."""
        charger = "" if self.charger == qubit() else f", {self.charger.name} charger"
        if self.battery is not None:
            charger += f", battery {self.battery}"
        frame = "" if self.frame == "rotating" else f", {self.frame} frame"
        names = [name for name in PARAMETERS if getattr(self, name) is not None]
        values = [f"{name} = {_span(getattr(self, name))}" for name in names]
        own = len(self.hamiltonian) + len(self.jumps)
        terms = f", {own} terms of your own" if own else ""
        return f"N = {_span(self.N)}, {', '.join(values)}{charger}{frame}{terms}"

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the batch; () for one model."""
        return self.N.shape

    @property
    def levels(self) -> int:
        """The number of ladder levels of every array, N_max + 1, or those of an oscillator."""
        return self.N_max + 1 if self.battery is None else self.battery.levels

    @property
    def most_excitations(self) -> jax.Array | int:
        """The number of the highest level: N, or that at which an oscillator is cut."""
        return self.N if self.battery is None else self.battery.levels - 1

    @property
    def has_local_noise(self) -> bool:
        """Whether there are jumps of single qubits, which lead out of the ladder j = N/2."""
        named = any(getattr(self, name) is not None for name in LOCAL)
        return named or any(isinstance(jump, LocalJump) for jump in self.jumps)

    @property
    def basis(self) -> Basis:
        """The levels that states of the battery are written in."""
        if self.battery is not None:
            return Fock(self.levels)
        return Ladders(self.levels) if self.has_local_noise else Ladder(self.levels)

    @property
    def Delta_C(self) -> jax.Array | None:
        """Charger detuning omega_C - omega_d; None where the model leaves it out."""
        return self.detunings(0.0)[0]

    @property
    def Delta_B(self) -> jax.Array | None:
        """Battery detuning omega_B - omega_d; None where the model leaves it out."""
        return self.detunings(0.0)[1]

    def detunings(self, t: ArrayLike) -> tuple[jax.Array | None, jax.Array | None]:
        """Return Delta_C and Delta_B at a time; None where the model leaves one out."""
        if self.omega_C is None and self.omega_d is None:
            return None, None
        drive = self.omega_B if self.omega_d is None else at_time(self.omega_d, t)
        charger = self.omega_B if self.omega_C is None else at_time(self.omega_C, t)
        return charger - drive, None if self.omega_d is None else self.omega_B - drive

    @property
    def couplings(self) -> jax.Array:
        """Superdiagonal of K: <n-1|K|n> = g sqrt(n (N - n + 1) / N), shape (levels,)."""
        return self.g / jnp.sqrt(self.N) * lowering_elements(self.N, self.levels)

    @property
    def depends_on_time(self) -> bool:
        """Whether the equation of motion does: a pulse, or the drive in the lab frame."""
        return self.frame == "lab" or bool(pulses_of(self))


def _span(value: Value) -> str:
    """Return a value in a word or two, or from where to where those of a batch lie."""
    if is_pulse(value) or not is_concrete(value):
        return text_of(in_words(value))
    return span_of(np.asarray(value))


def out_of_range(model: StarBattery) -> jax.Array:
    """Tell which models have numbers that the constructor refuses where it can see them.

    Traced numbers pass the constructor; what pulses make of theirs is not looked at. Shape of the
    batch.
    """
    shape = model.batch_shape

    def anywhere(condition: jax.Array) -> jax.Array:
        return jnp.any(condition.reshape(*shape, -1), axis=-1)

    refused = (model.N < 1) | (model.N_max < model.N) | (model.omega_B <= 0)
    for leaf in jax.tree.leaves(model, is_leaf=lambda leaf: isinstance(leaf, Pulse)):
        if not isinstance(leaf, Pulse) and jnp.issubdtype(leaf.dtype, jnp.inexact):
            refused |= anywhere(~jnp.isfinite(leaf))
    rates = [getattr(model, name) for name in NOT_NEGATIVE]
    for rate in (*rates, *(jump.rate for jump in model.jumps)):
        values = rate.values if isinstance(rate, PiecewiseConstant) else rate
        if values is not None and not is_pulse(values):
            refused |= anywhere(values < 0)
    for pulse in pulses_of(model):
        if isinstance(pulse, PiecewiseConstant):
            refused |= anywhere(jnp.diff(pulse.times) <= 0)
            continue
        for parameter in jax.tree.leaves(pulse.parameters):
            refused |= anywhere(jnp.isnan(parameter))
        if pulse.stops is not None:
            refused |= anywhere(~jnp.isfinite(pulse.stops))
    for t in probing_times(model.hamiltonian):
        off = skewness(model.hamiltonian, model.N, model.charger.levels, model.basis, t)
        refused |= off > LARGEST_SKEWNESS
    return refused


def require_model(model: object) -> None:
    """Refuse what is no model."""
    kind = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
    require(isinstance(model, StarBattery), "model", "made by qbjax.StarBattery(...)", kind)


def over_batch(solve: Callable[..., PyTree], model: StarBattery, *shared: PyTree) -> PyTree:
    """Apply a solver of one model to a batch of them; what is shared is common to the batch."""
    for _ in model.batch_shape:
        solve = jax.vmap(solve, in_axes=(0,) + (None,) * len(shared))
    return solve(model, *shared)
