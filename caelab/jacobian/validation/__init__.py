"""Validation of encoders: what must be true for a Jacobian to be right, tried once on a few examples."""
