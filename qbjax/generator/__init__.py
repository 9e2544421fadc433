"""The generator of the master equation, rho -> L rho."""
