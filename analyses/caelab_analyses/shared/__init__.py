"""Code that several analyses share: tiles, legends, float64 copies, fields, subspaces."""
