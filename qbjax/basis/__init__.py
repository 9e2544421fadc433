"""The levels that a state is written in, and the operators on them."""
