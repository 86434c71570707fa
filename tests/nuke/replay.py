"""A bridge that plays back a recorded exchange: ``python -m tests.nuke.replay FILE``.

Each line of the file is ``{"from": …}`` or ``{"to": …}``. It says what the recorded bridge said
and, where the recording has a request, waits for one that is equal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main():
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "from" in entry:
            print(json.dumps(entry["from"]), flush=True)
            continue
        asked = json.loads(sys.stdin.readline())
        if asked != entry["to"]:
            sys.exit(f"expected {entry['to']}, was asked {asked}")
    sys.stdin.read()


if __name__ == "__main__":
    main()
