"""Measuring runs: tables, figures and statistics."""
