"""The version, below everything that notes it."""

__version__ = "0.1.0"
