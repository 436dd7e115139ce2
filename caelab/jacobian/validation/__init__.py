"""What must be true of an encoder for its Jacobian to be right, found once on a few examples."""
