"""How fast the package is, as ratios in one run on one core: ``make bench`` or ``python -m tests.benchmarks``."""
