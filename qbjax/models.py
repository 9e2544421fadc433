"""The charger-battery models: named physical parameters, checked once, as JAX pytrees.

A model turns into terms (`terms`), and the solvers of the general master equation know only those.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.chargers import Charger, qubit
from qbjax.checks import (
    array_module,
    as_array,
    is_concrete,
    require,
    require_choice,
    require_known,
)
from qbjax.dicke import lowering_elements
from qbjax.pulses import PiecewiseConstant, Pulse, at_time, is_pulse, pulses_of
from qbjax.terms import J_minus, J_plus, J_z, Jump, Term, excitations, total

Parameter = Any  # an array, or a Pulse or PiecewiseConstant

# The jumps of the battery by the name of their rate. Which states they leave alone is said in
# `qbjax.nullspace`.
COLLECTIVE = {"Gamma_down": J_minus, "Gamma_up": J_plus, "Gamma_z": J_z}
# What is beyond dephasing; and all that must not be negative.
LOSSES = ("kappa", "nbar", *COLLECTIVE)
RATES = {"gamma_C", *LOSSES}
# How far a Hamiltonian may be from Hermitian, as a share of its size: rounding.
_SKEW = 1e-12


class StarBattery(eqx.Module):
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
    charger
        `qbjax.qubit()`, `qbjax.cavity(levels)` or `qbjax.spin(S)`. The lowering operator of the
        charger stands for sigma^-, its excitations for |e><e|.
    frame
        "rotating", or "lab": H is that of the resting frame, with the drive turning at omega_d.
    hamiltonian, jumps
        Terms of your own: `qbjax.Term` (their sum must be Hermitian) and `qbjax.Jump`.
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
    F: Parameter
    g: Parameter
    gamma_C: Parameter
    omega_B: jax.Array
    omega_C: Parameter | None
    omega_d: Parameter | None
    kappa: Parameter | None
    nbar: Parameter | None
    Gamma_down: Parameter | None
    Gamma_up: Parameter | None
    Gamma_z: Parameter | None
    hamiltonian: tuple[Term, ...]
    jumps: tuple[Jump, ...]
    charger: Charger = eqx.field(static=True)
    frame: str = eqx.field(static=True)
    N_max: int = eqx.field(static=True)

    def __init__(
        self,
        N: ArrayLike,
        F: Parameter,
        g: Parameter = 1.0,
        gamma_C: Parameter = 1.0,
        omega_B: ArrayLike = 1.0,
        omega_C: Parameter | None = None,
        omega_d: Parameter | None = None,
        *,
        kappa: Parameter | None = None,
        nbar: Parameter | None = None,
        Gamma_down: Parameter | None = None,
        Gamma_up: Parameter | None = None,
        Gamma_z: Parameter | None = None,
        charger: Charger | None = None,
        frame: str = "rotating",
        hamiltonian: tuple[Term, ...] = (),
        jumps: tuple[Jump, ...] = (),
        N_max: int | None = None,
    ):
        """Check the parameters and broadcast them together."""
        N = as_array(N, "N")
        self.N_max = _padded_size(N, N_max)
        self.charger = qubit() if charger is None else charger
        wanted = "made by qbjax.qubit(), qbjax.cavity(levels) or qbjax.spin(S)"
        require(isinstance(self.charger, Charger), "charger", wanted, charger)
        require_choice(frame, "frame", ("rotating", "lab"))
        self.frame = frame
        require(not is_pulse(omega_B), "omega_B", "constant in time", "a pulse")
        fixed = frame == "rotating" or not is_pulse(omega_d)
        require(fixed, "omega_d", "constant in time in the lab frame", "a pulse")
        together = nbar is None or kappa is not None
        require(together, "nbar", "given together with kappa", "given alone")
        named: dict[str, Parameter | None] = {
            "F": F,
            "g": g,
            "gamma_C": gamma_C,
            "omega_B": omega_B,
            "omega_C": omega_C,
            "omega_d": omega_d,
            "kappa": kappa,
            "nbar": nbar,
            "Gamma_down": Gamma_down,
            "Gamma_up": Gamma_up,
            "Gamma_z": Gamma_z,
        }
        for name in ("F", "g", "gamma_C", "omega_B"):
            require(named[name] is not None, name, "given", "None")
        for name, value in named.items():
            plain = is_pulse(value) or not callable(value)
            require(plain, name, "a number or a qbjax.Pulse", "a function")
        arrays = {k: _real(k, v) for k, v in named.items() if v is not None and not is_pulse(v)}
        for name in RATES & named.keys():
            _check_range(name, arrays.get(name, named[name]), strict=False)
        _check_range("omega_B", arrays["omega_B"], strict=True)
        own = _own(hamiltonian, "hamiltonian", Term), _own(jumps, "jumps", Jump)
        factors = [factor for term in (*own[0], *own[1]) for factor in _factors(term)]
        shape = _common_shape({"N": N, **arrays}, factors)
        # The default integer type: the square root of a shorter one has single precision.
        self.N = jnp.broadcast_to(jnp.asarray(N, int), shape)
        for name, value in named.items():
            if name in arrays:
                setattr(self, name, jnp.broadcast_to(arrays[name], shape))
            else:
                setattr(self, name, _shared(value, shape))
        self.hamiltonian = tuple(_spread(term, shape) for term in own[0])
        self.jumps = tuple(_spread(jump, shape) for jump in own[1])
        _check_terms(self, "hamiltonian", self.hamiltonian)
        for jump in self.jumps:
            _check_terms(self, "jumps", jump.terms)
        for t in _probing_times(self.hamiltonian) if self.hamiltonian else ():
            skewness = over_batch(_skewness, self, t)
            conjugate = "Hermitian (add the conjugate of each term that is not)"
            off = f"off by {np.max(skewness):.3g} of its size" if is_concrete(skewness) else ""
            require_known(skewness <= _SKEW, "hamiltonian", conjugate, off)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the batch; () for one model."""
        return self.N.shape

    @property
    def levels(self) -> int:
        """The number of ladder levels of every array, N_max + 1."""
        return self.N_max + 1

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


def out_of_range(model: StarBattery) -> jax.Array:
    """Tell which models have numbers that the constructor refuses where it can see them.

    Traced numbers pass the constructor; those of pulses are not looked at. Shape of the batch.
    """
    shape = model.batch_shape

    def anywhere(condition: jax.Array) -> jax.Array:
        return jnp.any(condition.reshape(*shape, -1), axis=-1)

    refused = (model.N < 1) | (model.N_max < model.N) | (model.omega_B <= 0)
    for leaf in jax.tree.leaves(model, is_leaf=lambda leaf: isinstance(leaf, Pulse)):
        if not isinstance(leaf, Pulse) and jnp.issubdtype(leaf.dtype, jnp.inexact):
            refused |= anywhere(~jnp.isfinite(leaf))
    for rate in (*(getattr(model, name) for name in RATES), *(jump.rate for jump in model.jumps)):
        values = rate.values if isinstance(rate, PiecewiseConstant) else rate
        if values is not None and not is_pulse(values):
            refused |= anywhere(values < 0)
    for pulse in pulses_of(model):
        if isinstance(pulse, PiecewiseConstant):
            refused |= anywhere(jnp.diff(pulse.times) <= 0)
        elif pulse.stops is not None:
            refused |= anywhere(~jnp.isfinite(pulse.stops))
    for t in _probing_times(model.hamiltonian) if model.hamiltonian else ():
        refused |= over_batch(_skewness, model, t) > _SKEW
    return refused


def require_model(model: Any) -> None:
    """Refuse what is no model."""
    shown = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
    require(isinstance(model, StarBattery), "model", "made by qbjax.StarBattery(...)", shown)


def terms(model: StarBattery, t: ArrayLike) -> tuple[tuple[Term, ...], tuple[Jump, ...]]:
    """Return the terms of the Hamiltonian and the jumps of one model at a time.

    Absent parameters make no term. The dephasing jump counts excitations from the middle of the
    charger's ladder, which is the same equation.
    """
    charger = model.charger
    Delta_C: jax.Array | None
    Delta_B: jax.Array | None
    lower, raise_ = charger.lowering, charger.lowering.T
    F, g = at_time(model.F, t), at_time(model.g, t) / jnp.sqrt(model.N)
    if model.frame == "lab":
        drive = model.omega_B if model.omega_d is None else model.omega_d
        charger_frequency = model.omega_B if model.omega_C is None else model.omega_C
        Delta_C, Delta_B = at_time(charger_frequency, t), model.omega_B
        turned = jnp.exp(-1j * drive * t)
    else:
        Delta_C, Delta_B = model.detunings(t)
        turned = jnp.ones(())
    hamiltonian = [
        Term(F * turned, raise_),
        Term(F * jnp.conj(turned), lower),
        Term(g, raise_, J_minus),
        Term(g, lower, J_plus),
    ]
    if Delta_C is not None:
        hamiltonian.append(Term(Delta_C, charger.excitations))
    if Delta_B is not None:
        hamiltonian.append(Term(Delta_B, battery=excitations))
    jumps = [Jump(at_time(model.gamma_C, t), Term(1.0, charger.inversion))]
    if model.kappa is not None:
        kappa = at_time(model.kappa, t)
        nbar = None if model.nbar is None else at_time(model.nbar, t)
        jumps.append(Jump(kappa if nbar is None else kappa * (nbar + 1), Term(1.0, lower)))
        if nbar is not None:
            jumps.append(Jump(kappa * nbar, Term(1.0, raise_)))
    for name, battery in COLLECTIVE.items():
        if getattr(model, name) is not None:
            jumps.append(Jump(at_time(getattr(model, name), t), Term(1.0, battery=battery)))
    own = tuple(Jump(at_time(jump.rate, t), *jump.terms) for jump in model.jumps)
    return (*hamiltonian, *model.hamiltonian), (*jumps, *own)


def over_batch(solve: Callable[..., Any], model: StarBattery, *shared: Any) -> Any:
    """Apply a solver of one model to a batch of them; what is shared is common to the batch."""
    for _ in model.batch_shape:
        solve = jax.vmap(solve, in_axes=(0,) + (None,) * len(shared))
    return solve(model, *shared)


def _common_shape(named: dict[str, Any], factors: list[Any]) -> tuple[int, ...]:
    """Return the shape of the batch, or refuse the parameter that does not fit those before it."""
    shape: tuple[int, ...] = ()
    for name, value in [*named.items(), *(("hamiltonian or jumps", factor) for factor in factors)]:
        fits = all(
            1 in pair or pair[0] == pair[1]
            for pair in zip(shape[::-1], jnp.shape(value)[::-1], strict=False)
        )
        require(fits, name, f"of a shape that goes with {shape}", f"of shape {jnp.shape(value)}")
        shape = jnp.broadcast_shapes(shape, jnp.shape(value))
    return shape


def _own(terms: Any, name: str, kind: type) -> tuple[Any, ...]:
    """Return terms of the user's own as a tuple; a single one stands for itself."""
    found = tuple(terms) if isinstance(terms, tuple | list) else (terms,)
    good = all(isinstance(term, kind) for term in found)
    require(good, name, f"a sequence of qbjax.{kind.__name__}", f"of {type(terms).__name__}")
    return found


def _shared(value: Any, shape: tuple[int, ...]) -> Any:
    """Return a pytree whose leaves have the batch axes in front, the same for every member."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape + jnp.shape(leaf)), value)


def _factors(term: Term | Jump) -> list[Any]:
    """Return what multiplies a term or jump and may have the batch axes already."""
    if isinstance(term, Term):
        return [] if is_pulse(term.coefficient) else [term.coefficient]
    rate = [] if is_pulse(term.rate) else [term.rate]
    return rate + [factor for part in term.terms for factor in _factors(part)]


def _spread(term: Any, shape: tuple[int, ...]) -> Any:
    """Return a term or jump with batch axes."""
    factors = [jnp.broadcast_to(factor, shape) for factor in _factors(term)]
    return eqx.tree_at(_factors, _shared(term, shape), factors)


def _check_terms(model: StarBattery, name: str, found: tuple[Term, ...]) -> None:
    """Refuse terms of the wrong size."""
    wanted = {
        "charger": (model.charger.levels, f"a charger matrix of {model.charger.levels} levels"),
        "matrix": (model.levels, f"a battery matrix of N_max + 1 = {model.levels} levels"),
    }
    for term in found:
        for part, (levels, words) in wanted.items():
            sizes = [band.shape[-1] for band in (getattr(term, part) or {}).values()]
            size = f"with one of {sizes[0]}" if sizes else "empty"
            require(set(sizes) <= {levels}, name, f"terms with {words}", size)


def _probing_times(terms: tuple[Term, ...]) -> list[ArrayLike]:
    """Return times that tell what terms are: some for pulses, and one in each of their pieces."""
    pulses = [term.coefficient for term in terms if is_pulse(term.coefficient)]
    pieces = [pulse.times for pulse in pulses if isinstance(pulse, PiecewiseConstant)]
    # Times of no meaning, at which no pulse vanishes but by accident.
    return [0.0, *((0.7317, 5.213) if pulses else ()), *(t for p in pieces for t in p.ravel())]


def _skewness(model: StarBattery, t: ArrayLike) -> jax.Array:
    """Return how far the model's own Hamiltonian is from Hermitian, as a share of it."""
    shape = (model.charger.levels, model.N, model.levels)
    adjoint = total(model.hamiltonian, t, *shape).adjoint
    # The adjoint of the adjoint has nothing left beyond the ladder's ends.
    skew = adjoint + adjoint.adjoint.scaled(-1.0)
    sizes = []
    for operator in (adjoint, skew):
        sizes.append(sum(jnp.sum(jnp.abs(weights)) for weights in operator.entries.values()))
    size, off = jnp.asarray(sizes)
    return off / jnp.where(size > 0, size, 1.0)


def _padded_size(N: Any, N_max: int | None) -> int:
    requirement = "an integer of at least 1"
    whole = jnp.issubdtype(N.dtype, jnp.integer) and N.size > 0
    require(whole, "N", requirement, N)
    require_known(N >= 1, "N", requirement, N)
    if N_max is None:
        scalar = is_concrete(N) and N.ndim == 0
        require(scalar, "N_max", "given where N is an array or traced", "None")
        return int(N)
    require(isinstance(N_max, int | np.integer) and N_max >= 1, "N_max", requirement, N_max)
    require_known(N_max >= N, "N", f"at most N_max = {N_max}", N)
    return int(N_max)


def _real(name: str, value: ArrayLike) -> Any:
    """Return a parameter in working precision, on the host where its numbers are known."""
    array = as_array(value, name)
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    require(real, name, "a real number", value)
    require_known(array_module(array).isfinite(array), name, "finite", value)
    return array.astype(jnp.result_type(float))


def _check_range(name: str, array: Any, *, strict: bool) -> None:
    """Refuse what is out of range, of the values of a piecewise constant pulse, too."""
    if isinstance(array, PiecewiseConstant):
        array = array.values
    if array is not None and not is_pulse(array):
        ok = array > 0 if strict else array >= 0
        require_known(ok, name, "positive" if strict else "not negative", array)
