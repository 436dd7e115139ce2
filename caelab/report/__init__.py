"""A comparison on disk: tables, claims, figures, and the report page."""
