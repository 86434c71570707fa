"""The panel's page of jobs: how far they are, what can be done about them, what they made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nuke

from nuke_plugin import picker, results
from nuke_plugin.link import Answer, Failure
from nuke_plugin.plate import Plate
from nuke_plugin.qt import QtCore, QtWidgets, button, tip

if TYPE_CHECKING:
    from nuke_plugin.panel import SegmattePanel

COLUMNS = ("Plate", "Prompt", "State", "Frames", "Frames/min", "Time left")
_ID = QtCore.Qt.ItemDataRole.UserRole


class JobsPage(QtWidgets.QWidget):
    """The artist's own jobs, newest first."""

    def __init__(self, panel: SegmattePanel) -> None:
        """Empty; the panel fills it."""
        super().__init__()
        self._panel = panel
        self.jobs: dict[str, dict[str, Any]] = {}
        self._following: dict[str, int] = {}
        self._nodes: dict[str, str] = {}
        self.fresh: set[str] = set()
        """Jobs of which frames have come in since the nodes were last told."""
        self._build()

    def _build(self) -> None:
        layout = QtWidgets.QVBoxLayout(self)
        self.table = QtWidgets.QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.horizontalHeader().setSectionResizeMode(QtWidgets.QHeaderView.ResizeMode.Stretch)
        self.table.verticalHeader().setVisible(False)
        self.table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        tip(self.table, "Your jobs, newest first.")
        layout.addWidget(self.table)
        row = QtWidgets.QHBoxLayout()
        for title, action, hint in (
            ("Cancel", lambda: self.ask("cancel"), "Stops the job; finished frames stay."),
            (
                "Retry",
                lambda: self.ask("retry"),
                "Goes on with a job that failed or was cancelled, where it stopped.",
            ),
            (
                "Fetch",
                self.fetch,
                "Writes the job's files to its folder, after Nuke was closed "
                "while it ran or files were lost.",
            ),
            ("Log", self.show_log, "What the job said so far."),
            (
                "Version Up Picker",
                self.version_up,
                "Points the selected ObjectIdPicker at this "
                "job's result and shows which names were kept, lost or new.",
            ),
        ):
            row.addWidget(button(title, action, hint))
        layout.addLayout(row)
        self.log = QtWidgets.QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumHeight(140)
        tip(self.log, "The log of the chosen job.")
        layout.addWidget(self.log)

    def submitted(self, job: Mapping[str, Any], *, node: Any, folder: Path) -> None:
        """Take a new job into the list and follow it.

        Args:
            job: as the bridge describes it.
            node: the picker made for it.
            folder: of its results.
        """
        self.jobs[job["id"]] = dict(job)
        self._nodes[job["id"]] = node.fullName()
        self._show_jobs()
        self._follow(job["id"], str(folder))

    def refresh(self) -> None:
        """Ask for the list of jobs."""
        self._panel.call("jobs", {}, self._listed, lambda failure: None)

    def show_new_frames(self) -> None:
        """Have the nodes show the frames that have come in since."""
        while self.fresh:
            node = nuke.toNode(self._nodes.get(self.fresh.pop(), ""))
            if node is not None:
                results.show_new_frames(node)

    def last_of(self, plate: Plate) -> str:
        """The newest finished job of a plate, names and ids are inherited from it; or nothing."""
        ours = _same_plate(plate.path or plate.name)
        done = [
            job
            for job in self.jobs.values()
            if job["state"] == "done" and _same_plate(job["plate"]) == ours
        ]
        return str(max(done, key=lambda j: j.get("created", 0))["id"]) if done else ""

    def folders(self) -> list[str]:
        """Where results of these jobs went, as their submitters wrote it."""
        return [job.get("labels", {}).get("folder", "") for job in self.jobs.values()]

    def _listed(self, answer: Answer) -> None:
        for job in answer["jobs"]:
            self.jobs[job["id"]] = {**self.jobs.get(job["id"], {}), **job}
        self._show_jobs()

    def _follow(self, job: str, folder: str) -> None:
        def told(event: Answer) -> None:
            if "job" in event:
                self.jobs[job] = dict(event["job"])
                self._show_jobs()
            if "frame" in event:
                self.fresh.add(job)
            for line in event.get("lines", ()):
                self.log.appendPlainText(line)
            if event.get("away"):
                self._panel.state.setText("away")

        def ended(answer: Answer) -> None:
            self._following.pop(job, None)
            self.jobs[job] = dict(answer["job"])
            self._show_jobs()
            self._finished(job)

        def failed(failure: Failure) -> None:
            self._following.pop(job, None)
            self._panel.say(failure.message, is_problem=True)

        self._following[job] = self._panel.call(
            "follow", {"job": job, "folder": folder}, ended, failed, told
        )

    def _finished(self, job: str) -> None:
        state = self.jobs[job]
        node = nuke.toNode(self._nodes.get(job, ""))
        if state["state"] == "done":
            if node is not None:
                results.refresh(node)
            self._panel.say(
                state.get("note") or f"{state['plate']} is done. Pick objects in the node."
            )
        elif state["state"] == "failed":
            self._panel.say(f"{state['plate']} failed: {state['error']}", is_problem=True)

    def _show_jobs(self) -> None:
        chosen = self._chosen_job()
        jobs = sorted(self.jobs.values(), key=lambda job: -job.get("created", 0))
        self.table.setRowCount(len(jobs))
        for row, job in enumerate(jobs):
            for column, text in enumerate(_job_texts(job)):
                cell = QtWidgets.QTableWidgetItem(text)
                cell.setData(_ID, job["id"])
                cell.setToolTip(job.get("error") or job["plate"])
                self.table.setItem(row, column, cell)
            if job["id"] == chosen:
                self.table.selectRow(row)

    def _chosen_job(self) -> str:
        rows = self.table.selectionModel().selectedRows() if self.table.rowCount() else []
        if not rows:
            return ""
        cell = self.table.item(rows[0].row(), 0)
        return str(cell.data(_ID)) if cell is not None else ""

    def ask(self, name: str) -> None:
        """Cancel or retry the chosen job."""
        job = self._chosen_job()
        if not job:
            self._panel.say("Choose a job in the list first.", is_problem=True)
            return

        def done(answer: Answer) -> None:
            self.jobs[job] = dict(answer["job"])
            self._show_jobs()
            folder = self.jobs[job].get("labels", {}).get("folder", "")
            if name == "retry" and folder and job not in self._following:
                self._follow(job, folder)

        self._panel.call(name, {"job": job}, done, self._panel.told)

    def fetch(self) -> None:
        """Follow the chosen job again and write what its folder lacks."""
        job = self._chosen_job()
        folder = self.jobs.get(job, {}).get("labels", {}).get("folder", "")
        if not folder:
            self._panel.say(
                "Choose a job in the list that was submitted from Nuke.", is_problem=True
            )
        elif job not in self._following:
            self._panel.say(f"Fetching {job} to {folder}.")
            self._follow(job, self._panel.settings.mapped(folder))

    def show_log(self) -> None:
        """Show what the chosen job said."""
        job = self._chosen_job()
        if job:
            self._panel.call("log", {"job": job}, self._logged, self._panel.told)

    def _logged(self, answer: Answer) -> None:
        self.log.setPlainText("\n".join(answer["lines"]))

    def version_up(self) -> None:
        """Point the selected picker at the chosen job's result."""
        job = self.jobs.get(self._chosen_job(), {})
        folder = job.get("labels", {}).get("folder", "")
        ours = [
            node
            for node in nuke.selectedNodes()
            if "segmatteNode" in node.knobs() and node["segmatteNode"].value() == picker.PICKER
        ]
        if not folder or len(ours) != 1:
            self._panel.say(
                "Choose a finished job here and one ObjectIdPicker in the graph.", is_problem=True
            )
            return
        try:
            place = Path(self._panel.settings.mapped(folder))
            self._panel.say(results.version_up(ours[0], place).text())
        except ValueError as error:
            self._panel.say(str(error), is_problem=True)


def _same_plate(path: str) -> tuple[str, str]:
    """Folder and plain name: equal for ``a/plate.####.exr`` and ``a/plate.%04d.exr``."""
    folder, _, name = path.replace("\\", "/").rpartition("/")
    return folder, results.plain_name(name)


def _job_texts(job: Mapping[str, Any]) -> list[str]:
    total = job.get("frames_total", 0)
    speed, left = job.get("frames_per_minute", 0.0), job.get("seconds_left", -1.0)
    state = job["state"]
    if state == "running" and job.get("stage"):
        state = job["stage"]
    is_running = job["state"] == "running"
    return [
        str(job.get("plate", "")).replace("\\", "/").rpartition("/")[2],
        job.get("prompt", "") or ", ".join(job.get("objects", ())),
        state,
        f"{job.get('frames_done', 0)} / {total or '?'}",
        f"{speed:.{0 if speed >= 10 else 1}f}" if is_running and speed else "",
        time_left(left) if is_running else "",
    ]


def time_left(seconds: float) -> str:
    """Seconds as an artist reads them; empty when not known."""
    if seconds < 0:
        return ""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
