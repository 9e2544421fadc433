"""What a report of a problem needs: versions, devices, precision."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

from qbjax._version import __version__

_CORE = ("jax", "jaxlib", "equinox", "diffrax", "optax", "numpy", "matplotlib", "xarray", "zarr")


class About(dict[str, Any]):
    """A dictionary that prints as lines of a name and a value."""

    def __repr__(self) -> str:
        """Return the lines."""
        width = max(map(len, self))
        texts = {k: ", ".join(v) if isinstance(v, list) else v for k, v in self.items()}
        return "\n".join(f"{name:<{width}}  {text}" for name, text in texts.items())


def about() -> About:
    """Return versions, devices and precision, by name: what a report of a problem needs.

    Examples
    --------
    >>> import qbjax as qb
    >>> qb.about()["precision"]
    'double'
    """
    versions = {name: _version(name) for name in _CORE}
    return About(
        qbjax=__version__,
        python=platform.python_version(),
        **versions,
        devices=[str(device) for device in jax.devices()],
        platform=jax.default_backend(),
        precision="double" if jax.config.read("jax_enable_x64") else "single",
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
