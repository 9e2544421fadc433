"""How the tests compile and share the cores."""

import os


def pytest_configure(config):
    # Two workers share two cores: threads of BLAS on top of them cost many times what they bring.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The user's directory is left alone; what one run compiled, the next one need not.
    os.environ["QBJAX_CACHE"] = "0"
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(config.rootpath / ".pytest_cache/programs")
    )
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
    if config.option.markexpr != "slow":
        # Most of the short suite's time is compiling small programs: quickly rather than well. So
        # it is for notebooks. The slow tests compile as users do.
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
