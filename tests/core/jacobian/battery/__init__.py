"""Encoders made from torch's own lists of modules and functions, each asked every question of the Jacobian service."""
