"""Qt under one name, PySide6 from Nuke 16 on and PySide2 before, and the controls pages share.

The rest of the plug-in writes enums in full (``Qt.CheckState.Checked``), which both understand,
and never calls ``exec``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import nuke

if TYPE_CHECKING or nuke.NUKE_VERSION_MAJOR >= 16:
    from PySide6 import QtCore, QtGui, QtWidgets
else:
    from PySide2 import QtCore, QtGui, QtWidgets

__all__ = ["QtCore", "QtGui", "QtWidgets", "button", "show_text", "tip"]


def show_text(label: QtWidgets.QLabel, text: str) -> None:
    """A line that takes no room while it has nothing to say."""
    label.setText(text)
    label.setVisible(bool(text))
    # Forms give a wrapped text one line, unless told otherwise.
    label.setMinimumHeight(label.heightForWidth(label.width()))


def tip(widget: QtWidgets.QWidget, text: str) -> None:
    """Tell an artist what a control does, when to change it, and its usual value."""
    widget.setToolTip(text)


def button(title: str, action: Callable[[], Any], hint: str) -> QtWidgets.QPushButton:
    """A button that runs an action."""
    made = QtWidgets.QPushButton(title)
    made.clicked.connect(lambda *_: action())
    tip(made, hint)
    return made
