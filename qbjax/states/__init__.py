"""What is accepted as a state, and what a state is worth."""
