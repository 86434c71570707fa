"""The panel: submit a plate, see what the models would find, watch jobs, get nodes.

Adapter only: it reads its controls into ``Choices``, makes one call of the bridge, and shows the
answer. Nothing here waits; a timer delivers what the bridge has said.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nuke

from nuke_plugin import picker, results, settings, submission
from nuke_plugin.link import Answer, Failure, Link, bridge_command
from nuke_plugin.plate import Plate, PlateProblem, RenderCancelled, plate_of
from nuke_plugin.preview import PreviewView
from nuke_plugin.qt import QtCore, QtWidgets
from nuke_plugin.submission import Choices, PromptItem

POLL_MILLISECONDS = 50
REFRESH_MILLISECONDS = 5000
EXAMPLES = ("person", "person, car", "dog, ball", "person. bicycle. traffic light")
ENDED = ("done", "failed", "cancelled")
COLUMNS = ("Plate", "Prompt", "State", "Frames", "Frames/min", "Time left")
_ITEM = QtCore.Qt.ItemDataRole.UserRole


class SegmattePanel(QtWidgets.QWidget):
    """The dockable panel; Nuke creates it without arguments."""

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
        self._info: Answer = {}
        self._plate: Plate | None = None
        self._node: Any = None
        self._items: list[PromptItem] = []
        self._jobs: dict[str, dict[str, Any]] = {}
        self._following: dict[str, int] = {}
        self._nodes: dict[str, str] = {}
        self._fresh: set[str] = set()
        self._build()
        for warning in loaded.warnings:
            self.say(warning, is_problem=True)
        self._timer = self._every(POLL_MILLISECONDS, self.link.poll)
        self._refresher = self._every(REFRESH_MILLISECONDS, self.refresh_jobs)
        self.connect_server()

    # Construction

    def _build(self) -> None:
        self.setWindowTitle("Segmatte")
        self.setObjectName("SegmattePanel")
        layout = QtWidgets.QVBoxLayout(self)
        layout.addLayout(self._server_row())
        self.tabs = QtWidgets.QTabWidget()
        self.tabs.addTab(_scrolled(self._submit_page()), "Submit")
        self.tabs.addTab(self._jobs_page(), "Jobs")
        layout.addWidget(self.tabs)
        self.message = QtWidgets.QLabel()
        self.message.setWordWrap(True)
        self.message.setToolTip("What happened last, and what to do about it.")
        layout.addWidget(self.message)

    def _server_row(self) -> QtWidgets.QHBoxLayout:
        self.server = QtWidgets.QLineEdit(self.settings.server)
        self.server.setPlaceholderText("server of this user")
        _tip(self.server, "Address of the Segmatte server, host:port. Empty: the one started by "
             "you, or the facility's. Change it only to use another server.")  # fmt: skip
        self.server.editingFinished.connect(self.connect_server)
        self.state = QtWidgets.QLabel("connecting")
        _tip(self.state, "Whether the server answers, and how busy it is.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(QtWidgets.QLabel("Server"))
        row.addWidget(self.server)
        row.addWidget(self.state, 1)
        return row

    def _submit_page(self) -> QtWidgets.QWidget:
        page = QtWidgets.QWidget()
        form = QtWidgets.QFormLayout(page)
        form.addRow("Plate", self._plate_row())
        form.addRow("", self.plate_label)
        form.addRow("Range", self._range_row())
        form.addRow("Look", self._look_row())
        self.prompt = QtWidgets.QComboBox()
        self.prompt.setEditable(True)
        self.prompt.addItems([*self.settings.history, *EXAMPLES])
        self.prompt.setCurrentText(self.settings.history[0] if self.settings.history else "person")
        _tip(self.prompt, "What to look for, separated by commas: person, car. Every one found "
             "becomes an object of its own. The list holds what you typed before, and examples. "
             "Empty: only the nodes below.")  # fmt: skip
        form.addRow("Prompt", self.prompt)
        form.addRow("Objects", self._objects_box())
        form.addRow("Model", self._model_row())
        form.addRow("Outputs", self._outputs_row())
        form.addRow("Folder", self._folder_row())
        self.preview_view = PreviewView()
        self.preview_text = QtWidgets.QLabel()
        self.preview_text.setWordWrap(True)
        _tip(self.preview_text, "What was kept and what was discarded on this frame, and why.")
        form.addRow("Preview", self.preview_view)
        form.addRow("", self.preview_text)
        form.addRow("", self._buttons_row())
        return page

    def _plate_row(self) -> QtWidgets.QHBoxLayout:
        self.use_selected = _button(
            "Use Selected Node", self.use_selection,
            "Takes the selected node as the plate. A Read the server sees is submitted as it is; "
            "anything else is rendered first.",
        )  # fmt: skip
        self.plate_label = QtWidgets.QLabel("Select a Read, or any node, and press the button.")
        self.plate_label.setWordWrap(True)
        _tip(self.plate_label, "What will be submitted, and why it is rendered if it is.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.use_selected)
        row.addStretch(1)
        return row

    def _range_row(self) -> QtWidgets.QHBoxLayout:
        self.first, self.last = _frame_box("First"), _frame_box("Last")
        self.handles = QtWidgets.QLabel()
        _tip(self.handles, "The plate's whole range, and how much of it lies outside of the one "
             "chosen here.")  # fmt: skip
        row = QtWidgets.QHBoxLayout()
        for widget in (self.first, QtWidgets.QLabel("to"), self.last):
            row.addWidget(widget)
            if isinstance(widget, QtWidgets.QSpinBox):
                widget.valueChanged.connect(self._show_handles)
        row.addWidget(self.handles, 1)
        return row

    def _look_row(self) -> QtWidgets.QHBoxLayout:
        self.colorspace = QtWidgets.QLineEdit()
        self.colorspace.setPlaceholderText("as the Read says")
        _tip(self.colorspace, "Colour space of the plate's files, as the config calls it. Only "
             "when the Read's own is wrong; a rendered plate needs none.")  # fmt: skip
        self.view = QtWidgets.QComboBox()
        self.view.addItems([str(view) for view in nuke.views()])
        _tip(self.view, "Which view is rendered. Usual: main.")
        self.exposure = QtWidgets.QDoubleSpinBox()
        self.exposure.setRange(-10, 10)
        self.exposure.setSingleStep(0.5)
        _tip(self.exposure, "Stops by which the picture is brightened for the models only. Raise "
             "it for night shots in which little is found. Usual: 0.")  # fmt: skip
        row = QtWidgets.QHBoxLayout()
        for label, widget in (("", self.colorspace), ("View", self.view),
                              ("Exposure", self.exposure)):  # fmt: skip
            if label:
                row.addWidget(QtWidgets.QLabel(label))
            row.addWidget(widget)
        return row

    def _objects_box(self) -> QtWidgets.QVBoxLayout:
        self.objects = QtWidgets.QTreeWidget()
        self.objects.setHeaderLabels(["Object and keyframes", "From"])
        self.objects.setColumnWidth(0, 300)
        self.objects.setMaximumHeight(150)
        _tip(self.objects, "Objects asked for by nodes. Tick the keyframes to send: those on "
             "which the shape was really drawn. More than ten for one object are rarely "
             "better.")  # fmt: skip
        self.objects.itemChanged.connect(self._keyframe_ticked)
        self.per_shape = QtWidgets.QCheckBox("per shape")
        _tip(self.per_shape, "One object for each shape instead of one for each layer of a Roto.")
        add = _button("Add Nodes", self.add_prompts,
                      "Adds the selected Roto, RotoPaint and SegmattePrompt nodes.")  # fmt: skip
        alpha = _button("Add Alpha", self.add_alpha,
                        "Adds the alpha of the selected node on the current frame as a mask: a "
                        "keyer, paint, Cryptomatte. Add further frames one by one.")  # fmt: skip
        clear = _button("Clear", self.clear_prompts, "Takes all objects off the list.")
        row = QtWidgets.QHBoxLayout()
        for widget in (add, alpha, self.per_shape, clear):
            row.addWidget(widget)
        self.notices = QtWidgets.QLabel()
        self.notices.setWordWrap(True)
        self.notices.setVisible(False)
        _tip(self.notices, "What of these nodes is not sent, and advice.")
        box = QtWidgets.QVBoxLayout()
        box.addWidget(self.objects)
        box.addLayout(row)
        box.addWidget(self.notices)
        return box

    def _model_row(self) -> QtWidgets.QHBoxLayout:
        self.detector, self.segmenter = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        _tip(self.detector, "The model that finds what the prompt names. Usual: the first one.")
        _tip(self.segmenter, "The model that draws and tracks the masks. A larger one is slower "
             "and finer. Usual: the first one.")  # fmt: skip
        self.priority = QtWidgets.QSpinBox()
        self.priority.setRange(-100, 100)
        self.priority.setValue(self.settings.priority)
        _tip(self.priority, "Higher goes first among waiting jobs. Usual: 0.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.detector)
        row.addWidget(self.segmenter)
        row.addWidget(QtWidgets.QLabel("Priority"))
        row.addWidget(self.priority)
        return row

    def _outputs_row(self) -> QtWidgets.QHBoxLayout:
        self.outputs: dict[str, QtWidgets.QCheckBox] = {}
        row = QtWidgets.QHBoxLayout()
        for name, title, tip in (
            ("objectid", "ObjectId", "Deep EXR with all objects, picked by name. Always made."),
            ("cryptomatte", "Cryptomatte", "The same objects for Cryptomatte nodes."),
            ("masks", "Masks", "A flat sequence for each object, for other programs."),
        ):
            box = self.outputs[name] = QtWidgets.QCheckBox(title)
            _tip(box, tip)
            row.addWidget(box)
        self.outputs["objectid"].setChecked(True)
        self.outputs["objectid"].setEnabled(False)
        row.addStretch(1)
        return row

    def _folder_row(self) -> QtWidgets.QVBoxLayout:
        self.template = QtWidgets.QLineEdit(self.settings.output_template)
        _tip(self.template, "Where results go. {script_dir}, {script}, {plate}, {user} and "
             "{version} are filled in; a version is never used twice.")  # fmt: skip
        self.template.textChanged.connect(self._show_folder_warning)
        self.folder_warning = QtWidgets.QLabel()
        self.folder_warning.setWordWrap(True)
        self.folder_warning.setVisible(False)
        _tip(self.folder_warning, "Whether others will see the result.")
        box = QtWidgets.QVBoxLayout()
        box.addWidget(self.template)
        box.addWidget(self.folder_warning)
        return box

    def _buttons_row(self) -> QtWidgets.QHBoxLayout:
        self.preview_button = _button(
            "Preview Frame", self.preview,
            "Tries the prompt on the current frame: boxes and masks, discarded ones with the "
            "reason. Nothing is submitted.",
        )  # fmt: skip
        self.submit_button = _button(
            "Submit", self.submit,
            "Sends the shot to the server. Nodes appear when it starts; finished frames come in "
            "from the end of the shot.",
        )  # fmt: skip
        self.progress = QtWidgets.QProgressBar()
        self.progress.setVisible(False)
        _tip(self.progress, "How much of the upload is done.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.preview_button)
        row.addWidget(self.submit_button)
        row.addWidget(self.progress, 1)
        return row

    def _jobs_page(self) -> QtWidgets.QWidget:
        page = QtWidgets.QWidget()
        layout = QtWidgets.QVBoxLayout(page)
        self.table = QtWidgets.QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.horizontalHeader().setSectionResizeMode(QtWidgets.QHeaderView.ResizeMode.Stretch)
        self.table.verticalHeader().setVisible(False)
        self.table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        _tip(self.table, "Your jobs, newest first.")
        layout.addWidget(self.table)
        row = QtWidgets.QHBoxLayout()
        for title, action, tip in (
            ("Cancel", lambda: self._job_call("cancel"), "Stops the job; finished frames stay."),
            ("Retry", lambda: self._job_call("retry"), "Goes on with a job that failed or was "
             "cancelled, where it stopped."),
            ("Fetch", self.fetch, "Writes the job's files to its folder, after Nuke was closed "
             "while it ran or files were lost."),
            ("Log", self.show_log, "What the job said so far."),
            ("Version Up Picker", self.version_up, "Points the selected ObjectIdPicker at this "
             "job's result and shows which names were kept, lost or new."),
        ):  # fmt: skip
            row.addWidget(_button(title, action, tip))
        layout.addLayout(row)
        self.log = QtWidgets.QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumHeight(140)
        _tip(self.log, "The log of the chosen job.")
        layout.addWidget(self.log)
        return page

    # Server

    def connect_server(self) -> None:
        """Ask the server what it offers."""
        self._keep(server=self.server.text().strip())
        self.state.setText("connecting")
        self._call("info", {}, self._connected, self._away)

    def _connected(self, info: Answer) -> None:
        self._info = info
        self._show_state(info)
        for combo, key, kept in (
            (self.detector, "detectors", self.settings.detector),
            (self.segmenter, "segmenters", self.settings.segmenter),
        ):
            combo.clear()
            combo.addItems(list(info.get(key, ())))
            if kept in info.get(key, ()):
                combo.setCurrentText(kept)
        self._show_plate()
        self._call("jobs", {}, self._listed, lambda failure: None)

    def _show_state(self, info: Answer) -> None:
        busy = f"{info['running_jobs']} running, {info['queued_jobs']} waiting"
        told = f"{info['name']} {info['version']}, {info['user']}: {busy}"
        self.state.setText(told + (", takes no new jobs for now" if info["draining"] else ""))

    def _still_there(self, info: Answer) -> None:
        """The server answered the regular question; after an absence, everything is asked anew."""
        if self._info:
            self._show_state(info)
        else:
            self.say("The server answers again.")
            self._connected(info)

    def _not_there(self, failure: Failure) -> None:
        if self._info:
            self._away(failure)

    def _away(self, failure: Failure) -> None:
        self._info = {}
        self.state.setText("away")
        self.say(failure.message, is_problem=True)

    # Plate and prompts

    def use_selection(self) -> None:
        """Take the selected node as the plate."""
        chosen = nuke.selectedNodes()
        if len(chosen) != 1:
            self.say(f"Select one node, found {len(chosen)}.", is_problem=True)
            return
        self._node = chosen[0]
        self._plate = None
        self._show_plate()

    def _show_plate(self) -> None:
        if self._node is None:
            return
        try:
            found = plate_of(self._node, read_roots=self._info.get("read_roots", ()))
        except PlateProblem as problem:
            self.plate_label.setText(str(problem))
            return
        is_new = self._plate is None
        self._plate = found
        told = f"{self._node.name()}: {found.name}, {found.width}x{found.height}"
        told += f". {found.reason}" if found.reason else ", submitted as it is."
        if found.offset:
            told += f" Results keep the file numbers {found.file_frame(found.first)}-" \
                    f"{found.file_frame(found.last)}."  # fmt: skip
        self.plate_label.setText(told)
        if is_new:
            self.first.setValue(found.first)
            self.last.setValue(found.last)
        self._show_handles()
        self._show_folder_warning()

    def _show_handles(self) -> None:
        if self._plate is None:
            return
        before, after = self.first.value() - self._plate.first, self._plate.last - self.last.value()
        told = f"of {self._plate.first}-{self._plate.last}"
        if before or after:
            told += f", handles {before} and {after}"
        self.handles.setText(told)

    def _show_folder_warning(self) -> None:
        template = self.settings.mapped(self.template.text())
        script = nuke.root()["name"].value() or ""
        place = template.replace("{script_dir}", str(Path(script).parent) if script else "~")
        warning = ""
        if "{script_dir}" in template and not script:
            warning = "The script was never saved: results go to your home folder."
        if not self.settings.is_shared(place):
            warning = (warning + " " if warning else "") + (
                "This folder is not on a shared root; other machines may not see the result."
            )
        _show_text(self.folder_warning, warning)

    def add_prompts(self) -> None:
        """Take the selected nodes as prompts."""
        for node in nuke.selectedNodes():
            try:
                items = submission.prompts_of(
                    node, per_shape=self.per_shape.isChecked(), frame=nuke.frame()
                )
            except PlateProblem as problem:
                self.say(str(problem), is_problem=True)
                continue
            known = {id(node)}
            self._items = [i for i in self._items if id(i.node) not in known or i.kind == "alpha"]
            self._items += items
        self._show_items()

    def add_alpha(self) -> None:
        """Take the selected node's alpha on the current frame as a prompt."""
        for node in nuke.selectedNodes():
            item = submission.alpha_prompt(node, nuke.frame())
            same = [i for i in self._items if i.kind == "alpha" and i.node is node]
            frames = tuple(sorted({*item.keyframes, *(f for i in same for f in i.keyframes)}))
            self._items = [i for i in self._items if i not in same]
            self._items.append(replace(item, keyframes=frames, chosen=frames))
        self._show_items()

    def clear_prompts(self) -> None:
        """Take all objects off the list."""
        self._items = []
        self._show_items()

    def _show_items(self) -> None:
        self.objects.blockSignals(True)
        self.objects.clear()
        for index, item in enumerate(self._items):
            if not item.keyframes:
                continue
            row = QtWidgets.QTreeWidgetItem(self.objects, [item.name, item.node.name()])
            for frame in item.keyframes:
                child = QtWidgets.QTreeWidgetItem(row, [str(frame)])
                child.setData(0, _ITEM, (index, frame))
                states = QtCore.Qt.CheckState
                child.setCheckState(0, states.Checked if frame in item.chosen else states.Unchecked)
            row.setExpanded(len(item.keyframes) <= 10)
        self.objects.blockSignals(False)
        _show_text(self.notices, "\n".join(submission.notices_of(self._items)))

    def _keyframe_ticked(self, item: QtWidgets.QTreeWidgetItem, column: int) -> None:
        data = item.data(0, _ITEM)
        if not data:
            return
        index, frame = data
        chosen = set(self._items[index].chosen) ^ {frame}
        self._items[index] = self._items[index].choosing(sorted(chosen))
        _show_text(self.notices, "\n".join(submission.notices_of(self._items)))

    # Submitting

    def choices(self) -> Choices:
        """What the controls say."""
        return Choices(
            text=self.prompt.currentText(),
            first=self.first.value(),
            last=self.last.value(),
            items=tuple(self._items),
            colorspace=self.colorspace.text().strip(),
            view=self.view.currentText() or "main",
            exposure_stops=self.exposure.value(),
            detector=self.detector.currentText(),
            segmenter=self.segmenter.currentText(),
            outputs=tuple(name for name, box in self.outputs.items() if box.isChecked()),
            priority=self.priority.value(),
        )

    def preview(self) -> None:
        """Try the prompt on the current frame."""
        frame = nuke.frame()
        choices = self.choices()
        kept = tuple(
            item.choosing([f for f in item.chosen if f == frame]) for item in choices.items
        )
        choices = replace(choices, items=kept)
        shot, folder = self._shot(choices, [frame])
        if shot is None or self._plate is None:
            return
        number = self._plate.file_frame(frame)
        self.preview_text.setText(f"asking for frame {frame}")

        def shown(answer: Answer) -> None:
            _remove(folder)
            self.preview_view.show_answer(answer)
            self.preview_text.setText(self.preview_view.summary())

        def failed(failure: Failure) -> None:
            _remove(folder)
            self.preview_text.setText("")
            self.say(failure.message, is_problem=True)

        self._call("preview", {"shot": shot, "frame": number}, shown, failed)

    def submit(self) -> None:
        """Send the shot."""
        choices = replace(self.choices(), reference_job=self._last_of_this_plate())
        text = choices.text
        shot, folder = self._shot(choices, None)
        if shot is None or self._plate is None:
            return
        self._keep(
            detector=choices.detector, segmenter=choices.segmenter, priority=choices.priority,
            output_template=self.template.text(),
            history=self.settings.with_prompt(text).history,
        )  # fmt: skip
        try:
            script = nuke.root()["name"].value() or ""
            output = results.output_folder(self.settings, self._plate.name, script)
        except (OSError, ValueError) as error:
            _remove(folder)
            self.say(f"The output folder cannot be made: {error}", is_problem=True)
            return
        shot["labels"] = {"folder": str(output), "node": self._node.fullName()}
        plate, node = self._plate, self._node
        self.submit_button.setEnabled(False)
        self.progress.setVisible(True)
        self.progress.setRange(0, 0)

        def sent(answer: Answer) -> None:
            self._settled(folder)
            job = dict(answer["job"])
            self._jobs[job["id"]] = job
            self._nodes[job["id"]] = results.create(output, plate, source=node).fullName()
            self.say(f"Submitted as {job['id']}. Results go to {output}.")
            self._show_jobs()
            self.tabs.setCurrentIndex(1)
            self._follow(job["id"], str(output))

        def failed(failure: Failure) -> None:
            self._settled(folder)
            with contextlib.suppress(OSError):
                output.rmdir()  # nothing was delivered there
            self.say(failure.message, is_problem=True)

        self._call("submit", {"shot": shot}, sent, failed, self._uploading)

    def _last_of_this_plate(self) -> str:
        """The newest finished job of this plate: names and ids are inherited from it."""
        if self._plate is None:
            return ""
        ours = _same_plate(self._plate.path or self._plate.name)
        done = [
            job
            for job in self._jobs.values()
            if job["state"] == "done" and _same_plate(job["plate"]) == ours
        ]
        return str(max(done, key=lambda j: j.get("created", 0))["id"]) if done else ""

    def _shot(
        self, choices: Choices, frames: list[int] | None
    ) -> tuple[dict[str, Any] | None, Path]:
        """The shot and the folder of what was rendered for it; None after telling why not."""
        folder = Path(tempfile.mkdtemp(prefix="segmatte_"))
        if self._plate is None:
            self.say("Choose a plate first: select a node and press Use Selected Node.",
                     is_problem=True)  # fmt: skip
        elif not self._info:
            self.say(self.link.problem or "The server does not answer; nothing was sent.",
                     is_problem=True)  # fmt: skip
        else:
            try:
                shot = submission.build(self._node, self._plate, choices, folder, frames=frames)
                return shot, folder
            except RenderCancelled as stopped:
                self.say(str(stopped))
            except PlateProblem as problem:
                self.say(str(problem), is_problem=True)
        _remove(folder)
        return None, folder

    def _uploading(self, event: Answer) -> None:
        if event.get("total"):
            # Bytes of a shot do not fit into Qt's 32-bit numbers.
            self.progress.setRange(0, 1000)
            self.progress.setValue(round(1000 * event["done"] / event["total"]))

    def _settled(self, folder: Path) -> None:
        _remove(folder)
        self.submit_button.setEnabled(True)
        self.progress.setVisible(False)

    # Jobs

    def refresh_jobs(self) -> None:
        """Ask for the list of jobs, and show the frames that have come in since."""
        while self._fresh:
            node = nuke.toNode(self._nodes.get(self._fresh.pop(), ""))
            if node is not None:
                results.show_new_frames(node)
        self._call("info", {}, self._still_there, self._not_there)
        if self._info:
            self._call("jobs", {}, self._listed, lambda failure: None)

    def _listed(self, answer: Answer) -> None:
        for job in answer["jobs"]:
            self._jobs[job["id"]] = {**self._jobs.get(job["id"], {}), **job}
        self._show_jobs()

    def _follow(self, job: str, folder: str) -> None:
        def told(event: Answer) -> None:
            if "job" in event:
                self._jobs[job] = dict(event["job"])
                self._show_jobs()
            if "frame" in event:
                self._fresh.add(job)
            for line in event.get("lines", ()):
                self.log.appendPlainText(line)
            if event.get("away"):
                self.state.setText("away")

        def ended(answer: Answer) -> None:
            self._following.pop(job, None)
            self._jobs[job] = dict(answer["job"])
            self._show_jobs()
            self._finished(job)

        def failed(failure: Failure) -> None:
            self._following.pop(job, None)
            self.say(failure.message, is_problem=True)

        self._following[job] = self._call(
            "follow", {"job": job, "folder": folder}, ended, failed, told
        )

    def _finished(self, job: str) -> None:
        state = self._jobs[job]
        node = nuke.toNode(self._nodes.get(job, ""))
        if state["state"] == "done":
            if node is not None:
                results.refresh(node)
            self.say(state.get("note") or f"{state['plate']} is done. Pick objects in the node.")
        elif state["state"] == "failed":
            self.say(f"{state['plate']} failed: {state['error']}", is_problem=True)

    def _show_jobs(self) -> None:
        chosen = self._chosen_job()
        jobs = sorted(self._jobs.values(), key=lambda job: -job.get("created", 0))
        self.table.setRowCount(len(jobs))
        for row, job in enumerate(jobs):
            for column, text in enumerate(_job_texts(job)):
                cell = QtWidgets.QTableWidgetItem(text)
                cell.setData(_ITEM, job["id"])
                cell.setToolTip(job.get("error") or job["plate"])
                self.table.setItem(row, column, cell)
            if job["id"] == chosen:
                self.table.selectRow(row)

    def _chosen_job(self) -> str:
        rows = self.table.selectionModel().selectedRows() if self.table.rowCount() else []
        if not rows:
            return ""
        cell = self.table.item(rows[0].row(), 0)
        return str(cell.data(_ITEM)) if cell is not None else ""

    def _job_call(self, name: str) -> None:
        job = self._chosen_job()
        if not job:
            self.say("Choose a job in the list first.", is_problem=True)
            return

        def done(answer: Answer) -> None:
            self._jobs[job] = dict(answer["job"])
            self._show_jobs()
            folder = self._jobs[job].get("labels", {}).get("folder", "")
            if name == "retry" and folder and job not in self._following:
                self._follow(job, folder)

        self._call(name, {"job": job}, done, self._told)

    def fetch(self) -> None:
        """Follow the chosen job again and write what its folder lacks."""
        job = self._chosen_job()
        folder = self._jobs.get(job, {}).get("labels", {}).get("folder", "")
        if not folder:
            self.say("Choose a job in the list that was submitted from Nuke.", is_problem=True)
        elif job not in self._following:
            self.say(f"Fetching {job} to {folder}.")
            self._follow(job, self.settings.mapped(folder))

    def show_log(self) -> None:
        """Show what the chosen job said."""
        job = self._chosen_job()
        if job:
            self._call("log", {"job": job}, self._logged, self._told)

    def _logged(self, answer: Answer) -> None:
        self.log.setPlainText("\n".join(answer["lines"]))

    def version_up(self) -> None:
        """Point the selected picker at the chosen job's result."""
        job = self._jobs.get(self._chosen_job(), {})
        folder = job.get("labels", {}).get("folder", "")
        ours = [
            node for node in nuke.selectedNodes()
            if "segmatteNode" in node.knobs() and node["segmatteNode"].value() == picker.PICKER
        ]  # fmt: skip
        if not folder or len(ours) != 1:
            self.say("Choose a finished job here and one ObjectIdPicker in the graph.",
                     is_problem=True)  # fmt: skip
            return
        try:
            self.say(results.version_up(ours[0], Path(folder)).text())
        except ValueError as error:
            self.say(str(error), is_problem=True)

    # Small things

    def say(self, text: str, *, is_problem: bool = False) -> None:
        """Show a sentence at the bottom."""
        self.message.setStyleSheet("color: #e0a050" if is_problem else "")
        self.message.setText(text)

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Ends the bridge with the panel."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop timers and bridge; jobs on the server go on."""
        self._timer.stop()
        self._refresher.stop()
        self.link.close()

    def _told(self, failure: Failure) -> None:
        self.say(failure.message, is_problem=True)

    def _call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        on_result: Callable[[Answer], None],
        on_failure: Callable[[Failure], None],
        on_event: Callable[[Answer], None] | None = None,
    ) -> int:
        return self.link.call(
            name,
            {"server": self.settings.server, **arguments},
            on_result=on_result,
            on_failure=on_failure,
            on_event=on_event,
        )

    def _keep(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        if self._keeps:
            try:
                settings.save(self.settings)
            except OSError as error:
                self.say(f"The settings cannot be kept: {error}.", is_problem=True)

    def _every(self, milliseconds: int, action: Callable[[], None]) -> QtCore.QTimer:
        timer = QtCore.QTimer(self)
        timer.timeout.connect(action)
        timer.start(milliseconds)
        return timer


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
        f"{speed:.0f}" if is_running and speed else "",
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


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _show_text(label: QtWidgets.QLabel, text: str) -> None:
    """A line that takes no room while it has nothing to say."""
    label.setText(text)
    label.setVisible(bool(text))


def _tip(widget: QtWidgets.QWidget, text: str) -> None:
    widget.setToolTip(text)


def _button(title: str, action: Callable[[], Any], tip: str) -> QtWidgets.QPushButton:
    button = QtWidgets.QPushButton(title)
    button.clicked.connect(lambda *_: action())
    _tip(button, tip)
    return button


def _frame_box(which: str) -> QtWidgets.QSpinBox:
    box = QtWidgets.QSpinBox()
    box.setRange(-1_000_000, 10_000_000)
    _tip(box, f"{which} script frame to submit. Usual: the plate's own.")
    return box


def _scrolled(page: QtWidgets.QWidget) -> QtWidgets.QScrollArea:
    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(page)
    return area
