"""The exact solution: dephasing of a qubit on battery resonance, sector by sector."""
