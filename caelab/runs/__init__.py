"""One run: its config, its recipe, its record on disk."""
