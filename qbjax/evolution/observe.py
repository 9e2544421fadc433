"""What is looked at of a stored state along the way."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.basis.ladder import level_numbers
from qbjax.basis.states import battery_state
from qbjax.generator import lindblad, stored_states
from qbjax.generator.lindblad import Generator
from qbjax.model.star_battery import StarBattery
from qbjax.states.passive import extractable


class Problem(eqx.Module):
    """One model with its generator, made once where it does not depend on time."""

    model: StarBattery
    constant: Generator | None

    def __init__(self, model: StarBattery):
        """Make the generator where it is constant."""
        self.model = model
        self.constant = None if model.depends_on_time else lindblad.generator(model)

    def generator(self, t: jax.Array) -> Generator:
        """Return the generator at a time."""
        return lindblad.generator(self.model, t) if self.constant is None else self.constant


class Observe(eqx.Module):
    """What to return of a stored state: names out of `result.OBSERVABLES`, and functions of rho.

    Attributes
    ----------
    save, functions
        The names, and pairs of a name and a function.
    """

    save: tuple[str, ...] = eqx.field(static=True)
    functions: tuple[tuple[str, Callable[..., PyTree]], ...] = eqx.field(static=True)

    def __call__(self, t: jax.Array, stored: jax.Array, problem: Problem) -> dict[str, PyTree]:
        """Return them at one time, with the trace and what the topmost level holds."""
        return self.finish(t, self.view(problem.generator(t), stored), problem)

    def view(self, generator: Generator, stored: jax.Array) -> dict[str, jax.Array]:
        """Return no more of a stored state than they need: a linear function of it."""
        view = {"levels": stored_states.populations(generator, stored)}
        if "power" in self.save:
            view["slopes"] = stored_states.populations(generator, generator(stored))
        if self.functions or "rho" in self.save:
            view["stored"] = stored
        elif {"battery", "ergotropy"} & set(self.save):
            view["battery"] = stored_states.battery(generator, stored)
        return view

    def finish(
        self, t: jax.Array, view: dict[str, jax.Array], problem: Problem
    ) -> dict[str, PyTree]:
        """Return them from the view."""
        model, generator = problem.model, problem.generator(t)
        energies = model.omega_B * level_numbers(model.levels)
        known = dict(view)
        known["populations"] = jnp.sum(view["levels"], axis=0)
        known["energy"] = energies @ known["populations"]
        if "slopes" in view:
            known["power"] = energies @ jnp.sum(view["slopes"], axis=0)
        if "stored" in view:
            known["battery"] = stored_states.battery(generator, view["stored"])
            known["rho"] = stored_states.restore(generator, view["stored"])
        if "ergotropy" in self.save:
            battery = battery_state(model.basis, known["battery"], model.N)
            known["ergotropy"] = model.omega_B * extractable(battery, model.basis.space)
        saved: dict[str, PyTree] = {name: known[name] for name in self.save}
        saved["observables"] = {name: jnp.asarray(f(known["rho"])) for name, f in self.functions}
        charger = jnp.sum(view["levels"], axis=1)
        top, spilled = stored_states.cut(generator, view["levels"], model.charger.truncated)
        # What led up at another time may have filled the topmost level.
        spilled = top if problem.constant is None else spilled
        return saved | {"trace": jnp.sum(charger), "top": top, "spilled": spilled}


class View(eqx.Module):
    """What `Observe` needs of a stored state at one time: a linear function of it."""

    observe: Observe
    generator: Generator

    def __call__(self, stored: jax.Array) -> dict[str, jax.Array]:
        """Return the view of a stored state."""
        return self.observe.view(self.generator, stored)
