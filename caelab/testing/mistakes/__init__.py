"""Known mistakes in penalties, and how each is recognised."""
