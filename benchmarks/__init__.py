"""Benchmarks: qbjax beside QuTiP and dynamiqs, at equal measured error."""
