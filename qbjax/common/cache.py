"""Compiled programs that outlive the process, in a directory of the user's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

import jax
import jaxlib

from qbjax.common.checks import require

# Set to 0, no cache is used; set to a directory, it is there.
VARIABLE = "QBJAX_CACHE"
# The level of what XLA says below which it keeps silent.
_FATAL = 3


def use_cache(directory: str | os.PathLike[str] | None = None) -> Path | None:
    """Keep compiled programs on disk, so that the next process need not compile them again.

    Call it before anything is computed. Programs are made for one kind of processor and one version
    of JAX, so each has a directory of its own within the given one. It may be shared by processes
    and deleted at any time; where it cannot be read or written, programs are compiled as without.
    The command line does this by itself. The environment variable QBJAX_CACHE=0 turns it off, and
    QBJAX_CACHE=DIRECTORY takes the place of `directory`. From then on XLA logs no more than what
    ends the process: it calls what it loads foreign, even where it is not.

    Parameters
    ----------
    directory
        Where to keep them; None: "qbjax" in the user's directory for caches (XDG_CACHE_HOME,
        ~/.cache, ~/Library/Caches or LOCALAPPDATA).

    Returns
    -------
    The directory of this processor and version; None where there is none that can be written, or
    the cache is turned off.

    Raises
    ------
    ArgumentError
        Where the directory is no path.

    Examples
    --------
    >>> import tempfile
    >>> import qbjax as qb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     directory = qb.use_cache(folder)
    ...     print(directory is None or directory.parent.name == folder.rpartition("/")[2])
    True
    """
    is_path = directory is None or isinstance(directory, str | os.PathLike)
    require(is_path, "directory", "a path", f"of type {type(directory).__name__}")
    setting = os.environ.get(VARIABLE, "")
    if setting == "0":
        return None
    place = Path(setting or directory or _user_directory()).expanduser() / _kind_of_machine()
    if not _is_writable(place):
        return None
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # An entry that cannot be read or written costs a compilation, and nothing else.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation")
    _silence_loading()
    with contextlib.suppress(ImportError, AttributeError):
        # JAX looks at the settings when it compiles for the first time.
        from jax.experimental.compilation_cache.compilation_cache import reset_cache

        reset_cache()
    return place


def _silence_loading() -> None:
    """Keep XLA from calling what it loads foreign: it takes preferences for instructions.

    See https://github.com/openxla/xla/issues/44565. Errors are raised as they were.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jaxlib import utils

        utils.absl_set_min_log_level(_FATAL)


def _user_directory() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base) / "qbjax"


def _kind_of_machine() -> str:
    """Return a name for what programs are made for: the processor's instructions and JAX."""
    instructions = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        instructions = next(line for line in lines if line.startswith(("flags", "Features")))
    made_for = f"{platform.machine()} {instructions} {jax.__version__} {jaxlib.__version__}"
    return hashlib.sha256(made_for.encode()).hexdigest()[:16]


def _is_writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False
