"""What plugins offer: the catalogue, hook validation, importing, signatures, fingerprints."""
