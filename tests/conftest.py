"""How the tests compile and share the cores."""

import gc
import os

import pytest


def pytest_configure(config):
    # Two workers share two cores: threads of BLAS on top of them cost many times what they bring.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config.option.markexpr != "slow":
        # Most of the short suite's time is compiling small programs: quickly rather than well. So
        # it is for notebooks. The slow tests compile as users do.
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    _keep_programs(config.rootpath / ".pytest_cache" / "programs")


def _keep_programs(directory):
    """What one run compiled, the next one need not; the user's own directory is left alone."""
    # Now that the flags are set.
    from qbjax.common.cache import use_cache

    os.environ.pop("QBJAX_CACHE", None)
    use_cache(directory)
    os.environ["QBJAX_CACHE"] = "0"


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Let go of the programs of a file of tests.

    Each takes several of the 65530 pieces of memory that Linux lets a process map, and XLA aborts
    the process when there are none left.
    """
    yield
    import jax

    jax.clear_caches()
    gc.collect()
