"""Compile quickly rather than well: most of the short suite's time is compiling small programs.

The slow tests, run apart, compile as users do.
"""

import os


def pytest_configure(config):
    if config.option.markexpr == "not slow":
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
