"""How long charging takes, and the parameters that are best for it."""
