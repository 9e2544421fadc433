"""`StarBattery`: parameters, checked once, and the terms that they make."""
