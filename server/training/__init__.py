"""Training of the demo models on drawn plates; ``python -m server.training --help`` drives it."""
