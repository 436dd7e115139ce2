"""What Rifai, Vincent, Muller, Glorot and Bengio (2011) say of contractive auto-encoders, as claims."""
