"""The bridge: a study of how contraction and denoising are related, with a page of its own."""
