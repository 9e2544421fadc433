"""Sweeps: observables over a grid of parameters, batched, resumable and labelled.

From the grid (`grid`) and what is asked of its points (`observables`) to chunks that are computed
side by side (`points`, `job`) and kept (`store`) with what they were made of (`provenance`).
"""
