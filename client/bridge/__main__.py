"""``python -m client.bridge``: started by the plug-in inside Nuke, not by people."""

from __future__ import annotations

import sys

from client.bridge.protocol import clean_stdout, serve


def main() -> int:
    """Answer calls until stdin ends.

    Returns:
        The exit code.
    """
    with clean_stdout() as sink:
        try:
            from client.bridge.remote import RemoteService
        except ImportError as error:
            print(
                f"The bridge lacks the package {error.name!r}. Run 'segmatte nuke install' again.",
                file=sys.stderr,
            )
            return 2
        serve(RemoteService(), source=sys.stdin.buffer, sink=sink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
