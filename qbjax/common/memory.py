"""How much memory there is."""

import functools
import os

import jax


@functools.cache
def memory() -> int:
    """Return the bytes of the device that JAX computes on, or what no computer has if unknown."""
    known = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if known is not None:
        return int(known)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**63
