"""The panel: a page to submit a plate, a page of jobs, and the server above them.

Adapter only: pages read their controls, make one call of the bridge, and show the answer. Nothing
here waits; a timer delivers what the bridge has said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nuke_plugin import settings
from nuke_plugin.jobs_page import JobsPage
from nuke_plugin.link import Answer, Failure, Link, bridge_command
from nuke_plugin.qt import QtCore, QtWidgets, tip
from nuke_plugin.submit_page import SubmitPage

POLL_MILLISECONDS = 50
REFRESH_MILLISECONDS = 5000


class SegmattePanel(QtWidgets.QWidget):
    """The dockable panel; Nuke creates it without arguments.

    Pages use ``settings``, ``link``, ``info``, ``call``, ``say`` and ``keep``.
    """

    def __init__(self, link: Link | None = None, kept: settings.Settings | None = None) -> None:
        """A panel that connects by itself.

        Args:
            link: the bridge; None starts the installed one.
            kept: settings; None reads them, and keeps what is changed.
        """
        super().__init__()
        self._keeps = kept is None
        loaded = settings.load() if kept is None else settings.Loaded(kept)
        self.settings = loaded.settings
        if link is None:
            root = Path(__file__).resolve().parent.parent
            command, folder = bridge_command(root, self.settings.bridge_python)
            link = Link(command, folder=folder)
        self.link = link
        self.info: Answer = {}
        """What the server offers; empty while it is away."""
        self._build()
        for warning in loaded.warnings:
            self.say(warning, is_problem=True)
        self._timer = self._every(POLL_MILLISECONDS, self.link.poll)
        self._refresher = self._every(REFRESH_MILLISECONDS, self.refresh)
        self.connect_server()

    # Construction

    def _build(self) -> None:
        self.setWindowTitle("Segmatte")
        self.setObjectName("SegmattePanel")
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(self._server_row())
        self.tabs = QtWidgets.QTabWidget()
        self.submit, self.jobs = SubmitPage(self), JobsPage(self)
        self.tabs.addTab(_scrolled(self.submit), "Submit")
        self.tabs.addTab(self.jobs, "Jobs")
        layout.addWidget(self.tabs)
        self.message = QtWidgets.QLabel()
        self.message.setWordWrap(True)
        self.message.setToolTip("What happened last, and what to do about it.")
        layout.addWidget(self.message)

    def _server_row(self) -> QtWidgets.QHBoxLayout:
        self.server = QtWidgets.QLineEdit(self.settings.server)
        self.server.setPlaceholderText("server of this user")
        tip(
            self.server,
            "Address of the Segmatte server, host:port. Empty: the one started by "
            "you, or the facility's. Change it only to use another server.",
        )
        self.server.editingFinished.connect(self.connect_server)
        self.state = QtWidgets.QLabel("connecting")
        tip(self.state, "Whether the server answers, and how busy it is.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(QtWidgets.QLabel("Server"))
        row.addWidget(self.server)
        row.addWidget(self.state, 1)
        return row

    # Server

    def connect_server(self) -> None:
        """Ask the server what it offers."""
        self.keep(server=self.server.text().strip())
        self.state.setText("connecting")
        self.call("info", {}, self._connected, self._away)

    def _connected(self, info: Answer) -> None:
        self.info = info
        self._show_state(info)
        self.submit.show_models()
        self.jobs.refresh()

    def _show_state(self, info: Answer) -> None:
        busy = f"{info['running_jobs']} running, {info['queued_jobs']} waiting"
        told = f"{info['name']} {info['version']}, {info['user']}: {busy}"
        self.state.setText(told + (", takes no new jobs for now" if info["draining"] else ""))

    def _still_there(self, info: Answer) -> None:
        """The server answered the regular question; after an absence, everything is asked anew."""
        if self.info:
            self._show_state(info)
        else:
            self.say("The server answers again.")
            self._connected(info)

    def _not_there(self, failure: Failure) -> None:
        if self.info:
            self._away(failure)

    def _away(self, failure: Failure) -> None:
        self.info = {}
        self.state.setText("away")
        self.say(failure.message, is_problem=True)

    def refresh(self) -> None:
        """Ask how the server and its jobs are, and show the frames that have come in since."""
        self.jobs.show_new_frames()
        self.call("info", {}, self._still_there, self._not_there)
        if self.info:
            self.jobs.refresh()

    def show_jobs(self) -> None:
        """Bring the page of jobs to the front."""
        self.tabs.setCurrentWidget(self.jobs)

    # What the pages use

    def say(self, text: str, *, is_problem: bool = False) -> None:
        """Show a sentence at the bottom."""
        self.message.setStyleSheet("color: #e0a050" if is_problem else "")
        self.message.setText(text)

    def told(self, failure: Failure) -> None:
        """Show why a call failed."""
        self.say(failure.message, is_problem=True)

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        on_result: Callable[[Answer], None],
        on_failure: Callable[[Failure], None],
        on_event: Callable[[Answer], None] | None = None,
    ) -> int:
        """Ask the bridge; the answer comes later. Returns the call's number."""
        return self.link.call(
            name,
            {"server": self.settings.server, **arguments},
            on_result=on_result,
            on_failure=on_failure,
            on_event=on_event,
        )

    def keep(self, **changes: Any) -> None:
        """Change settings, for the next session too."""
        self.settings = replace(self.settings, **changes)
        if self._keeps:
            try:
                settings.save(self.settings)
            except OSError as error:
                self.say(f"The settings cannot be kept: {error}.", is_problem=True)

    # The end

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Ends the bridge with the panel."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop timers and bridge; jobs on the server go on."""
        self._timer.stop()
        self._refresher.stop()
        self.link.close()

    def _every(self, milliseconds: int, action: Callable[[], None]) -> QtCore.QTimer:
        timer = QtCore.QTimer(self)
        timer.timeout.connect(action)
        timer.start(milliseconds)
        return timer


def _scrolled(page: QtWidgets.QWidget) -> QtWidgets.QScrollArea:
    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(page)
    return area
