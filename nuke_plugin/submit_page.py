"""The panel's page for submitting: the plate, what to look for in it, and a preview.

It reads its controls into ``Choices``, has ``submission`` build the shot, and makes one call.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nuke

from nuke_plugin import results, submission
from nuke_plugin.link import Answer, Failure
from nuke_plugin.plate import Plate, PlateProblem, RenderCancelled, plate_of, viewer_looks
from nuke_plugin.preview import PreviewView
from nuke_plugin.qt import QtCore, QtWidgets, button, show_text, tip
from nuke_plugin.submission import Choices, PromptItem

if TYPE_CHECKING:
    from nuke_plugin.panel import SegmattePanel

EXAMPLES = ("person", "person, car", "dog, ball", "person. bicycle. traffic light")
AS_THE_VIEWER, AS_THE_SERVER = "as the viewer", "server's default"
_KEY = QtCore.Qt.ItemDataRole.UserRole


class SubmitPage(QtWidgets.QWidget):
    """Everything a shot is asked with."""

    def __init__(self, panel: SegmattePanel) -> None:
        """With the panel's settings; no plate yet."""
        super().__init__()
        self._panel = panel
        self._plate: Plate | None = None
        self._node: Any = None
        self._items: list[PromptItem] = []
        self._build()

    # Construction

    def _build(self) -> None:
        form = QtWidgets.QFormLayout(self)
        form.addRow("Plate", self._plate_row())
        form.addRow("", self.plate_label)
        form.addRow("Range", self._range_row())
        form.addRow("Look", self._look_row())
        form.addRow("Display", self._display_row())
        self.prompt = QtWidgets.QComboBox()
        self.prompt.setEditable(True)
        self.prompt.addItems([*self._panel.settings.history, *EXAMPLES])
        self.prompt.setCurrentText(
            self._panel.settings.history[0] if self._panel.settings.history else "person"
        )
        tip(
            self.prompt,
            "What to look for, separated by commas: person, car. Every one found "
            "becomes an object of its own. The list holds what you typed before, and examples. "
            "Empty: only the nodes below.",
        )
        form.addRow("Prompt", self.prompt)
        form.addRow("Objects", self._objects_box())
        form.addRow("Model", self._model_row())
        form.addRow("Outputs", self._outputs_row())
        form.addRow("Folder", self._folder_row())
        self.preview_view = PreviewView()
        self.preview_text = QtWidgets.QLabel()
        self.preview_text.setWordWrap(True)
        tip(self.preview_text, "What was kept and what was discarded on this frame, and why.")
        form.addRow("Preview", self.preview_view)
        form.addRow("", self.preview_text)
        form.addRow("", self._buttons_row())

    def _plate_row(self) -> QtWidgets.QHBoxLayout:
        self.use_selected = button(
            "Use Selected Node",
            self.use_selection,
            "Takes the selected node as the plate. A Read the server sees is submitted as it is; "
            "anything else is rendered first.",
        )
        self.plate_label = QtWidgets.QLabel("Select a Read, or any node, and press the button.")
        self.plate_label.setWordWrap(True)
        tip(self.plate_label, "What will be submitted, and why it is rendered if it is.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.use_selected)
        row.addStretch(1)
        return row

    def _range_row(self) -> QtWidgets.QHBoxLayout:
        self.first, self.last = _frame_box("First"), _frame_box("Last")
        self.handles = QtWidgets.QLabel()
        tip(
            self.handles,
            "The plate's whole range, and how much of it lies outside of the one chosen here.",
        )
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
        tip(
            self.colorspace,
            "Colour space of the plate's files, as the config calls it. Only "
            "when the Read's own is wrong; a rendered plate needs none.",
        )
        self.view = QtWidgets.QComboBox()
        self.view.addItems([str(view) for view in nuke.views()])
        tip(self.view, "Which view is rendered. Usual: main.")
        self.exposure = QtWidgets.QDoubleSpinBox()
        self.exposure.setRange(-10, 10)
        self.exposure.setSingleStep(0.5)
        tip(
            self.exposure,
            "Stops by which the picture is brightened for the models only. Raise "
            "it for night shots in which little is found. Usual: 0.",
        )
        row = QtWidgets.QHBoxLayout()
        for label, widget in (
            ("", self.colorspace),
            ("View", self.view),
            ("Exposure", self.exposure),
        ):
            if label:
                row.addWidget(QtWidgets.QLabel(label))
            row.addWidget(widget)
        return row

    def _display_row(self) -> QtWidgets.QComboBox:
        self.look = QtWidgets.QComboBox()
        self.look.addItems([AS_THE_VIEWER, AS_THE_SERVER])
        tip(
            self.look,
            "Through which view of the OCIO config models see a plate that is submitted as it is. "
            "Choose another where the viewer's makes the plate too dark or too bright, or where "
            "the server's config lacks it. Usual: as the viewer.",
        )
        return self.look

    def _objects_box(self) -> QtWidgets.QVBoxLayout:
        self.objects = QtWidgets.QTreeWidget()
        self.objects.setHeaderLabels(["Object and keyframes", "From"])
        self.objects.setColumnWidth(0, 300)
        self.objects.setMaximumHeight(150)
        tip(
            self.objects,
            "Objects asked for by nodes. Tick the keyframes to send: those on "
            "which the shape was really drawn. More than ten for one object are rarely "
            "better.",
        )
        self.objects.itemChanged.connect(self._keyframe_ticked)
        self.per_shape = QtWidgets.QCheckBox("per shape")
        tip(self.per_shape, "One object for each shape instead of one for each layer of a Roto.")
        add = button(
            "Add Nodes",
            self.add_prompts,
            "Adds the selected Roto, RotoPaint and SegmattePrompt nodes.",
        )
        alpha = button(
            "Add Alpha",
            self.add_alpha,
            "Adds the alpha of the selected node on the current frame as a mask: a "
            "keyer, paint, Cryptomatte. Add further frames one by one.",
        )
        clear = button("Clear", self.clear_prompts, "Takes all objects off the list.")
        row = QtWidgets.QHBoxLayout()
        for widget in (add, alpha, self.per_shape, clear):
            row.addWidget(widget)
        self.notices = QtWidgets.QLabel()
        self.notices.setWordWrap(True)
        self.notices.setVisible(False)
        tip(self.notices, "What of these nodes is not sent, and advice.")
        box = QtWidgets.QVBoxLayout()
        box.addWidget(self.objects)
        box.addLayout(row)
        box.addWidget(self.notices)
        return box

    def _model_row(self) -> QtWidgets.QHBoxLayout:
        self.detector, self.segmenter = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        tip(self.detector, "The model that finds what the prompt names. Usual: the first one.")
        tip(
            self.segmenter,
            "The model that draws and tracks the masks. A larger one is slower "
            "and finer. Usual: the first one.",
        )
        self.priority = QtWidgets.QSpinBox()
        self.priority.setRange(-100, 100)
        self.priority.setValue(self._panel.settings.priority)
        tip(self.priority, "Higher goes first among waiting jobs. Usual: 0.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.detector, 1)
        row.addWidget(self.segmenter, 1)
        row.addWidget(QtWidgets.QLabel("Priority"))
        row.addWidget(self.priority)
        return row

    def _outputs_row(self) -> QtWidgets.QHBoxLayout:
        self.outputs: dict[str, QtWidgets.QCheckBox] = {}
        row = QtWidgets.QHBoxLayout()
        for name, title, hint in (
            ("objectid", "ObjectId", "Deep EXR with all objects, picked by name. Always made."),
            ("cryptomatte", "Cryptomatte", "The same objects for Cryptomatte nodes."),
            ("masks", "Masks", "A flat sequence for each object, for other programs."),
        ):
            box = self.outputs[name] = QtWidgets.QCheckBox(title)
            tip(box, hint)
            row.addWidget(box)
        self.outputs["objectid"].setChecked(True)
        self.outputs["objectid"].setEnabled(False)
        row.addStretch(1)
        return row

    def _folder_row(self) -> QtWidgets.QVBoxLayout:
        self.template = QtWidgets.QLineEdit(self._panel.settings.output_template)
        tip(
            self.template,
            "Where results go. {script_dir}, {script}, {plate}, {user} and "
            "{version} are filled in; a version is never used twice.",
        )
        self.template.textChanged.connect(self._show_folder_warning)
        self.folder_warning = QtWidgets.QLabel()
        self.folder_warning.setWordWrap(True)
        self.folder_warning.setVisible(False)
        tip(self.folder_warning, "Whether others will see the result.")
        box = QtWidgets.QVBoxLayout()
        box.addWidget(self.template)
        box.addWidget(self.folder_warning)
        return box

    def _buttons_row(self) -> QtWidgets.QHBoxLayout:
        self.preview_button = button(
            "Preview Frame",
            self.preview,
            "Tries the prompt on the current frame: boxes and masks, discarded ones with the "
            "reason. Nothing is submitted.",
        )
        self.submit_button = button(
            "Submit",
            self.submit,
            "Sends the shot to the server. Nodes appear when it starts; finished frames come in "
            "from the end of the shot.",
        )
        self.progress = QtWidgets.QProgressBar()
        self.progress.setVisible(False)
        tip(self.progress, "How much of the upload is done.")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.preview_button)
        row.addWidget(self.submit_button)
        row.addWidget(self.progress, 1)
        return row

    # Plate and prompts

    def show_models(self) -> None:
        """Offer what the server offers."""
        kept = self._panel.settings
        for combo, key, name in (
            (self.detector, "detectors", kept.detector),
            (self.segmenter, "segmenters", kept.segmenter),
        ):
            combo.clear()
            combo.addItems(list(self._panel.info.get(key, ())))
            if name in self._panel.info.get(key, ()):
                combo.setCurrentText(name)
        self.show_plate()

    def use_selection(self) -> None:
        """Take the selected node as the plate."""
        chosen = nuke.selectedNodes()
        if len(chosen) != 1:
            self._panel.say(f"Select one node, found {len(chosen)}.", is_problem=True)
            return
        self._node = chosen[0]
        self._plate = None
        self.show_plate()

    def show_plate(self) -> None:
        """Say how the chosen node would be submitted to this server."""
        if self._node is None:
            return
        try:
            found = plate_of(self._node, read_roots=self._panel.info.get("read_roots", ()))
        except PlateProblem as problem:
            self.plate_label.setText(str(problem))
            return
        is_new = self._plate is None
        self._plate = found
        told = f"{self._node.name()}: {found.name}, {found.width}x{found.height}"
        told += f". {found.reason}" if found.reason else ", submitted as it is."
        if found.offset:
            told += (
                f" Results keep the file numbers {found.file_frame(found.first)}-"
                f"{found.file_frame(found.last)}."
            )
        self.plate_label.setText(told)
        if is_new:
            self.first.setValue(found.first)
            self.last.setValue(found.last)
            self._show_looks()
        self._show_handles()
        self._show_folder_warning()

    def _show_looks(self) -> None:
        kept = self.look.currentText()
        self.look.clear()
        self.look.addItems([AS_THE_VIEWER, AS_THE_SERVER, *viewer_looks()])
        self.look.setCurrentText(kept)

    def _chosen_look(self) -> str:
        if self.look.currentText() == AS_THE_VIEWER:
            return next(iter(viewer_looks()), "")
        return "" if self.look.currentText() == AS_THE_SERVER else self.look.currentText()

    def _show_handles(self) -> None:
        if self._plate is None:
            return
        before, after = self.first.value() - self._plate.first, self._plate.last - self.last.value()
        told = f"of {self._plate.first}-{self._plate.last}"
        if before or after:
            told += f", handles {before} and {after}"
        self.handles.setText(told)

    def _show_folder_warning(self) -> None:
        template = self._panel.settings.mapped(self.template.text())
        script = nuke.root()["name"].value() or ""
        place = template.replace("{script_dir}", str(Path(script).parent) if script else "~")
        warning = ""
        if "{script_dir}" in template and not script:
            warning = "The script was never saved: results go to your home folder."
        if not self._panel.settings.is_shared(place):
            warning = (warning + " " if warning else "") + (
                "This folder is not on a shared root; other machines may not see the result."
            )
        show_text(self.folder_warning, warning)

    def add_prompts(self) -> None:
        """Take the selected nodes as prompts."""
        for node in nuke.selectedNodes():
            try:
                items = submission.prompts_of(
                    node, per_shape=self.per_shape.isChecked(), frame=nuke.frame()
                )
            except PlateProblem as problem:
                self._panel.say(str(problem), is_problem=True)
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
                child.setData(0, _KEY, (index, frame))
                states = QtCore.Qt.CheckState
                child.setCheckState(0, states.Checked if frame in item.chosen else states.Unchecked)
            row.setExpanded(len(item.keyframes) <= 10)
        self.objects.blockSignals(False)
        show_text(self.notices, "\n".join(submission.notices_of(self._items)))

    def _keyframe_ticked(self, item: QtWidgets.QTreeWidgetItem, column: int) -> None:
        data = item.data(0, _KEY)
        if not data:
            return
        index, frame = data
        chosen = set(self._items[index].chosen) ^ {frame}
        self._items[index] = self._items[index].choosing(sorted(chosen))
        show_text(self.notices, "\n".join(submission.notices_of(self._items)))

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
            look=self._chosen_look(),
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
        show_text(self.preview_text, f"asking for frame {frame}")

        def shown(answer: Answer) -> None:
            _remove(folder)
            self.preview_view.show_answer(answer)
            show_text(self.preview_text, self.preview_view.summary())

        def failed(failure: Failure) -> None:
            _remove(folder)
            show_text(self.preview_text, "")
            self._panel.say(failure.message, is_problem=True)

        self._panel.call("preview", {"shot": shot, "frame": number}, shown, failed)

    def submit(self) -> None:
        """Send the shot."""
        last = self._panel.jobs.last_of(self._plate) if self._plate is not None else ""
        choices = replace(self.choices(), reference_job=last)
        text = choices.text
        shot, folder = self._shot(choices, None)
        if shot is None or self._plate is None:
            return
        self._panel.keep(
            detector=choices.detector,
            segmenter=choices.segmenter,
            priority=choices.priority,
            output_template=self.template.text(),
            history=self._panel.settings.with_prompt(text).history,
        )
        try:
            script = nuke.root()["name"].value() or ""
            output = results.output_folder(
                self._panel.settings, self._plate.name, script, used=self._panel.jobs.folders()
            )
        except (OSError, ValueError) as error:
            _remove(folder)
            self._panel.say(f"The output folder cannot be made: {error}", is_problem=True)
            return
        shot["labels"] = {"folder": str(output), "node": self._node.fullName()}
        plate, node = self._plate, self._node
        self.submit_button.setEnabled(False)
        self.progress.setVisible(True)
        self.progress.setRange(0, 0)

        def sent(answer: Answer) -> None:
            self._settled(folder)
            job, made = answer["job"], results.create(output, plate, source=node)
            self._panel.say(f"Submitted as {job['id']}. Results go to {output}.")
            self._panel.show_jobs()
            self._panel.jobs.submitted(job, node=made, folder=output)

        def failed(failure: Failure) -> None:
            self._settled(folder)
            with contextlib.suppress(OSError):
                output.rmdir()  # nothing was delivered there
            self._panel.say(failure.message, is_problem=True)

        self._panel.call("submit", {"shot": shot}, sent, failed, self._uploading)

    def _shot(
        self, choices: Choices, frames: list[int] | None
    ) -> tuple[dict[str, Any] | None, Path]:
        """The shot and the folder of what was rendered for it; None after telling why not."""
        folder = Path(tempfile.mkdtemp(prefix="segmatte_"))
        if self._plate is None:
            self._panel.say(
                "Choose a plate first: select a node and press Use Selected Node.", is_problem=True
            )
        elif not self._panel.info:
            self._panel.say(
                self._panel.link.problem or "The server does not answer; nothing was sent.",
                is_problem=True,
            )
        else:
            try:
                shot = submission.build(self._node, self._plate, choices, folder, frames=frames)
                return shot, folder
            except RenderCancelled as stopped:
                self._panel.say(str(stopped))
            except PlateProblem as problem:
                self._panel.say(str(problem), is_problem=True)
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


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _frame_box(which: str) -> QtWidgets.QSpinBox:
    box = QtWidgets.QSpinBox()
    box.setRange(-1_000_000, 10_000_000)
    tip(box, f"{which} script frame to submit. Usual: the plate's own.")
    return box
