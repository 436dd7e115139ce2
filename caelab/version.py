"""The version of caelab; this is its one place."""

__version__ = "0.1.0"
