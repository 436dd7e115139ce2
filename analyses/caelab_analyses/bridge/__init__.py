"""The bridge: what contraction has to do with denoising, as one study with one page."""
