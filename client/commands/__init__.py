"""Commands that talk to a server: unpack the command line, one call, print."""
