"""Results as labelled arrays, with units and evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qbjax.common.printing import Printed

if TYPE_CHECKING:
    from xarray import Dataset


class Labelled(Printed):
    """A result of a model, or of a batch of them, that can be had as an xarray dataset."""

    # The axes that a field has beside those of the batch.
    _axes: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def to_xarray(self) -> Dataset:
        """Return the result as a dataset, with units, evidence and the model's parameters.

        The axes of a batch are "batch_0", "batch_1", ..., along which the parameters of the models
        are coordinates; a complex array becomes two, `_real` and `_imag`, which every file format
        takes. The blocks of a `LadderState` are left out. Only on the host.

        Raises
        ------
        TypeError
            Where JAX is tracing.

        Examples
        --------
        >>> import qbjax as qb
        >>> data = qb.evolve(qb.StarBattery(N=2, F=[0.5, 1.0]), [0.0, 5.0, 20.0]).to_xarray()
        >>> print(data.energy.dims, data.energy.attrs["units"])
        ('batch_0', 't') in the unit of omega_B
        >>> print(data.energy.sel(t=5.0).values.round(4), data.F.values)
        [0.5694 1.27  ] [0.5 1. ]
        """
        from xarray import Dataset

        units = {name.replace(" ", "_"): remark for name, _, remark in self._lines()}
        arrays: dict[str, Any] = {}
        for name, field, value in self._values():
            array = np.asarray(value)
            dims = self._dims(field, array.ndim)
            attrs = {"units": units[name]} if units.get(name) else {}
            if np.iscomplexobj(array):
                arrays[f"{name}_real"] = dims, array.real, attrs
                arrays[f"{name}_imag"] = dims, array.imag, attrs
            else:
                arrays[name] = dims, array, attrs
        model = vars(self)["model"]
        numbers = {name: np.shape(value) for name, value in vars(model).items()}
        parameters = {
            name: (self._batch(model), np.asarray(getattr(model, name)))
            for name, shape in numbers.items()
            if shape == model.batch_shape and hasattr(getattr(model, name), "dtype")
        }
        if "ts" in arrays:
            # A batch shares its times.
            ts = arrays.pop("ts")[1]
            parameters["t"] = ("t",), ts.reshape(-1, ts.shape[-1])[0]
        texts = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        return Dataset(arrays, parameters, {"model": model.one_line, **texts})

    def _values(self) -> Iterator[tuple[str, str, Any]]:
        """Return the names, the fields and the values of all arrays that are there."""
        for field, value in vars(self).items():
            if isinstance(value, dict):
                # Heat is by the name of the bath; observables and evidence have names of theirs.
                prefix = "heat_" if field == "heat" else ""
                yield from ((f"{prefix}{key}", field, entry) for key, entry in value.items())
            elif hasattr(value, "dtype"):
                yield field, field, value

    def _batch(self, model: Any) -> tuple[str, ...]:
        return tuple(f"batch_{i}" for i in range(len(model.batch_shape)))

    def _dims(self, field: str, ndim: int) -> tuple[str, ...]:
        """Return the names of the axes of an array; those that are not known are numbered."""
        batch = self._batch(vars(self)["model"])
        own, rest = self._axes.get(field, ()), ndim - len(batch)
        if len(own) != rest:
            own = own[:1] + tuple(f"{field}_{i}" for i in range(len(own[:1]), rest))
        return (*batch, *own)
