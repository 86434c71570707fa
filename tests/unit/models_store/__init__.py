"""Fetching models from a publisher on this machine that misbehaves on request."""
