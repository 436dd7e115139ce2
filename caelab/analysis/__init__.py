"""Analyses of runs: tables, figures and statistics."""
