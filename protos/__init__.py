"""The wire interface and its generated stubs; ``segmatte.proto`` is the documentation."""
