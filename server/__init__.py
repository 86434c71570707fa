"""The GPU side: plates in, mattes out. See ARCHITECTURE.md for the rooms and their order."""
