"""Sweeps: observables over a grid of parameters, batched, resumable and labelled.

From the grid (`grid`) and what is asked of its points (`observables`, `job`) to chunks (`run`) that
are computed side by side (`points`) and kept (`store`) with what they were made of (`provenance`).
"""
