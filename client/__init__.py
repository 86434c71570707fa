"""The artist's side: command line, gRPC client library, bridge for Nuke. No torch."""
