"""How the tests compile and share the cores."""

import gc
import os
import subprocess
import sys

import pytest

# Most of the short suite's time is compiling small programs: quickly rather than well.
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# Not every version of XLA knows this one, and one that does not ends the process.
QUICKER = "--xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    # Two workers share two cores: threads of BLAS on top of them cost many times what they bring.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The slow tests compile as users do. Workers have the flags of the process that starts them.
    if config.option.markexpr != "slow" and not hasattr(config, "workerinput"):
        flags = f"{os.environ.get('XLA_FLAGS', '')} {QUICKLY}".strip()
        quicker = f"{flags} {QUICKER}"
        os.environ["XLA_FLAGS"] = quicker if _are_known(quicker) else flags
    _keep_programs(config.rootpath / ".pytest_cache" / "programs")


def _are_known(flags):
    """Tell whether XLA starts with such flags."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = os.environ | {"XLA_FLAGS": flags}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


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
