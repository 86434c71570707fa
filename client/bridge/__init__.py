"""The bridge: a child process of Nuke that speaks gRPC on its behalf.

Nuke's own Python cannot be trusted with gRPC and protobuf, so it starts this package under a
Python of its own and exchanges JSON lines with it over stdin and stdout.
"""
