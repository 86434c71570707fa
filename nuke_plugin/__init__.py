"""What runs inside Nuke: the panel, roto prompts and the ObjectId nodes.

Standard library, ``nuke`` and Qt only, in the syntax of Python 3.9: this code shares a process
with whatever else a facility loads there. Everything that needs gRPC happens in the bridge, a
process with a Python of its own. Importing this package does nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"
