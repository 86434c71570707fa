"""Jobs: what is asked for, where it stands, and whose files are whose. No grpc, no torch."""
