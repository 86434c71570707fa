"""The searchable tree of a shot's objects with check boxes, opened from a picker.

It edits the picker's matte list term by term, so wildcards an artist typed stay as they are.
"""

from __future__ import annotations

from typing import Any

from nuke_plugin import picker, selection
from nuke_plugin.names import ShotNames
from nuke_plugin.qt import QtCore, QtWidgets
from objectid.errors import FilterError, ObjectIdError
from objectid.filter import compile_filter

_LEVEL = QtCore.Qt.ItemDataRole.UserRole
_open: dict[str, ObjectList] = {}


def show(node: Any) -> None:
    """Open the list of a picker, or bring the open one to the front."""
    name = node.fullName()
    if name not in _open:
        _open[name] = ObjectList(node)
        _open[name].finished.connect(lambda: _open.pop(name, None))
    _open[name].refresh()
    _open[name].show()
    _open[name].raise_()


def frames_text(runs: tuple[tuple[int, int], ...]) -> str:
    """Frame runs as an artist reads them: ``1001-1024, 1030``."""
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


class ObjectList(QtWidgets.QDialog):
    """A tree of names; ticking a level picks everything below it."""

    def __init__(self, node: Any, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node = node
        self._names = ShotNames()
        self._is_filling = False
        self.setWindowTitle(f"Objects of {node.name()}")
        self.resize(560, 480)
        self.search = QtWidgets.QLineEdit()
        self.search.setPlaceholderText("Search names")
        self.search.setClearButtonEnabled(True)
        self.search.setToolTip("Shows only objects whose name contains this text.")
        self.search.textChanged.connect(self._search)
        self.tree = QtWidgets.QTreeWidget()
        self.tree.setHeaderLabels(["Name", "Frames", "Score", "Since last version"])
        self.tree.setToolTip("Tick an object to pick it, a level to pick everything below it.")
        self.tree.setUniformRowHeights(True)
        self.tree.itemChanged.connect(self._ticked)
        self.notice = QtWidgets.QLabel()
        self.notice.setWordWrap(True)
        reload = QtWidgets.QPushButton("Reload")
        reload.setToolTip("Reads the names again, after the sequence on disk has changed.")
        reload.clicked.connect(self._reload)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.search)
        layout.addWidget(self.tree)
        layout.addWidget(self.notice)
        layout.addWidget(reload)

    def refresh(self) -> None:
        """Read names and matte list again."""
        try:
            self._names = picker.shot_names(self._node)
            self.notice.setText(
                "" if self._names.ids else "No names: connect an ObjectId sequence."
            )
        except ObjectIdError as error:
            self._names = ShotNames()
            self.notice.setText(str(error))
        self._is_filling = True
        self.tree.clear()
        items: dict[str, QtWidgets.QTreeWidgetItem] = {}
        for name in sorted(self._names.ids):
            self._item(name, items)
        self.tree.expandAll()
        self._is_filling = False
        self._show_ticks()
        for column in range(4):
            self.tree.resizeColumnToContents(column)
        self._search(self.search.text())

    def _item(
        self, name: str, items: dict[str, QtWidgets.QTreeWidgetItem]
    ) -> QtWidgets.QTreeWidgetItem:
        if name in items:
            return items[name]
        above = name.rpartition("/")[0]
        parent = self._item(above, items) if above else self.tree.invisibleRootItem()
        record = self._names.records.get(name)
        frames = frames_text(record.frames) if record else ""
        score = f"{record.score:.2f}" if record and record.score is not None else ""
        fate = self._names.fates.get(name, "")
        item = QtWidgets.QTreeWidgetItem(parent, [name.rpartition("/")[2], frames, score, fate])
        item.setData(0, _LEVEL, name)
        item.setFlags(item.flags() | QtCore.Qt.ItemFlag.ItemIsUserCheckable)
        items[name] = item
        return item

    def _show_ticks(self) -> None:
        """Ticks as the matte list says, partial for levels of which some are picked."""
        try:
            picked = set(compile_filter(self._node["matteList"].value()).select(self._names.ids))
        except FilterError as error:
            self.notice.setText(error.reason.splitlines()[0])
            return
        self._is_filling = True
        states = QtCore.Qt.CheckState
        for item in self._items():
            members = set(selection.below(item.data(0, _LEVEL), self._names.ids))
            state = states.Checked if members <= picked else states.PartiallyChecked
            item.setCheckState(0, state if members & picked else states.Unchecked)
        self._is_filling = False

    def _items(self) -> list[QtWidgets.QTreeWidgetItem]:
        found = []
        walk = QtWidgets.QTreeWidgetItemIterator(self.tree)
        while walk.value() is not None:
            found.append(walk.value())
            walk += 1
        return found

    def _ticked(self, item: QtWidgets.QTreeWidgetItem, column: int) -> None:
        if self._is_filling or column != 0:
            return
        change = (
            selection.remove_tree
            if item.checkState(0) == QtCore.Qt.CheckState.Unchecked
            else selection.add_tree
        )
        try:
            text = change(self._node["matteList"].value(), item.data(0, _LEVEL), self._names.ids)
        except FilterError as error:
            self.notice.setText(error.reason.splitlines()[0])
            return
        picker.set_list(self._node, text)
        self.notice.setText(self._node["status"].value())
        self._show_ticks()

    def _search(self, text: str) -> None:
        wanted = text.strip().lower()
        for item in self._items():
            # A level stays visible as long as something below it does.
            members = [
                name
                for name in self._names.ids
                if (name + "/").startswith(item.data(0, _LEVEL) + "/")
            ]
            item.setHidden(bool(wanted) and not any(wanted in name.lower() for name in members))

    def _reload(self) -> None:
        picker.reload(self._node)
        self.refresh()
