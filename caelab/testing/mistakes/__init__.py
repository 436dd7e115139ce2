"""Known mistakes: what has been taken for a known penalty, and how one is recognised."""
