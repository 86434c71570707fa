"""Nuke's door to Segmatte: found on ``NUKE_PATH`` or through the line in ``~/.nuke/init.py``."""

from __future__ import annotations

try:
    import nuke_plugin.startup

    nuke_plugin.startup.install_menus()
except Exception:
    import traceback

    print("Segmatte is absent in this session, everything else works. The reason:")  # noqa: T201
    traceback.print_exc()
