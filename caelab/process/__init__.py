"""The Python process that runs are computed in: its settings, threads, limits, and what would end it."""
