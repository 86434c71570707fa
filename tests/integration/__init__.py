"""Heavier proofs, in groups: run by `make test-integration`, never by `make test`."""
