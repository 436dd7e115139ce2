"""What several analyses use: tiles, legends, float64 copies, fields, subspaces."""
