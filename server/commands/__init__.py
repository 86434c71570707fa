"""The server's side of the program ``segmatte``: one module per command."""
