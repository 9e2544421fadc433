"""Charging in time."""
