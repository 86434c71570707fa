"""The gRPC side of the server: thin adapters between the wire and jobs, uploads and workers.

The only place, with the client and the stubs, that knows grpc. An adapter unpacks a message, makes
one call, and packs the answer.
"""
