"""The state that charging settles in."""
