"""Completion of command lines in a shell: what may stand at a place, found without importing torch."""
