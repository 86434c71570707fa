"""Qt under one name: PySide6 from Nuke 16 on, PySide2 before.

The rest of the plug-in writes enums in full (``Qt.CheckState.Checked``), which both understand,
and never calls ``exec``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import nuke

if TYPE_CHECKING or nuke.NUKE_VERSION_MAJOR >= 16:
    from PySide6 import QtCore, QtGui, QtWidgets
else:
    from PySide2 import QtCore, QtGui, QtWidgets

__all__ = ["QtCore", "QtGui", "QtWidgets"]
