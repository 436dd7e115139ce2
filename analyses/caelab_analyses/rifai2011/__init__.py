"""Claims of Rifai, Vincent, Muller, Glorot and Bengio (2011) about contractive auto-encoders."""
