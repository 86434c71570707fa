"""The preview: what the models found on one frame, drawn in the panel."""

from __future__ import annotations

import base64
import colorsys
from collections.abc import Mapping
from typing import Any

from nuke_plugin.qt import QtCore, QtGui, QtWidgets

_DISCARDED = QtGui.QColor(150, 150, 150)


class PreviewView(QtWidgets.QWidget):
    """A picture with boxes and masks; discarded ones are dashed and say why in the tooltip."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._answer: Mapping[str, Any] = {}
        self._image = QtGui.QImage()
        self._masks: list[QtGui.QImage] = []
        self.setMinimumSize(240, 240)
        growing = QtWidgets.QSizePolicy.Policy.Expanding
        self.setSizePolicy(growing, growing)
        self.setMouseTracking(True)
        self.setToolTip("What the models find on the current frame, before anything is submitted.")

    def show_answer(self, answer: Mapping[str, Any]) -> None:
        """Draw the bridge's answer to ``preview``."""
        self._answer = answer
        self._image = _picture(answer.get("image_png", ""))
        self._masks = [
            _tinted(_picture(item.get("mask_png", "")), _colour(index))
            for index, item in enumerate(answer.get("candidates", ()))
        ]
        self.update()

    def summary(self) -> str:
        """How many were kept and discarded, and why, as lines."""
        items = self._answer.get("candidates", ())
        kept = [item for item in items if not item["reason"]]
        lines = [f"{len(kept)} kept, {len(items) - len(kept)} discarded"]
        lines += [_told(item) for item in items]
        return "\n".join(lines)

    def told_at(self, x: float, y: float) -> str:
        """What is known of the smallest box at a place of the widget."""
        inside = []
        for item in self._answer.get("candidates", ()):
            box = self._placed(item["box"])
            if box.contains(QtCore.QPointF(x, y)):
                inside.append((box.width() * box.height(), _told(item)))
        return min(inside)[1] if inside else ""

    def event(self, event: QtCore.QEvent) -> bool:
        """Shows a candidate's story as the tooltip."""
        if event.type() == QtCore.QEvent.Type.ToolTip and self._answer:
            place = event.pos()  # type: ignore[attr-defined]
            told = self.told_at(place.x(), place.y())
            QtWidgets.QToolTip.showText(event.globalPos(), told, self)  # type: ignore[attr-defined]
            return True
        return super().event(event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802
        """Draws picture, masks, boxes and labels."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(30, 30, 30))
        if not self._answer:
            painter.setPen(QtGui.QColor(140, 140, 140))
            painter.drawText(self.rect(), QtCore.Qt.AlignmentFlag.AlignCenter, "No preview yet")
            painter.end()
            return
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(self._frame(), self._image)
        for mask in self._masks:
            if not mask.isNull():
                painter.drawImage(self._frame(), mask)
        for index, item in enumerate(self._answer.get("candidates", ())):
            is_kept = not item["reason"]
            pen = QtGui.QPen(_colour(index) if is_kept else _DISCARDED)
            pen.setWidth(2 if is_kept else 1)
            if not is_kept:
                pen.setStyle(QtCore.Qt.PenStyle.DashLine)
            painter.setPen(pen)
            box = self._placed(item["box"])
            painter.drawRect(box)
            label = f"{item['category'] or item['object']} {item['score']:.2f}"
            if not is_kept:
                label += f": {item['reason']}"
            self._label(painter, box, label, at_bottom=not is_kept)
        painter.end()

    def _label(
        self, painter: QtGui.QPainter, box: QtCore.QRectF, text: str, *, at_bottom: bool
    ) -> None:
        """Text on a dark ground, at the box's top or, for discarded ones, at its bottom."""
        metrics = painter.fontMetrics()
        corner = box.bottomLeft() if at_bottom else box.topLeft()
        top = corner.y() - metrics.height() if at_bottom else corner.y()
        width, height = metrics.horizontalAdvance(text) + 6, metrics.height()
        ground = QtCore.QRectF(corner.x(), top, width, height)
        painter.fillRect(ground, QtGui.QColor(0, 0, 0, 160))
        painter.drawText(ground, QtCore.Qt.AlignmentFlag.AlignCenter, text)

    def _frame(self) -> QtCore.QRectF:
        """Where the picture lies in the widget."""
        width, height = self._answer.get("width", 1) or 1, self._answer.get("height", 1) or 1
        scale = min(self.width() / width, self.height() / height)
        w, h = width * scale, height * scale
        return QtCore.QRectF((self.width() - w) / 2, (self.height() - h) / 2, w, h)

    def _placed(self, box: Any) -> QtCore.QRectF:
        frame = self._frame()
        scale = frame.width() / (self._answer.get("width", 1) or 1)
        x0, y0, x1, y1 = (float(value) * scale for value in box)
        return QtCore.QRectF(frame.x() + x0, frame.y() + y0, x1 - x0, y1 - y0)


def _told(item: Mapping[str, Any]) -> str:
    head = f"{item['category'] or item['object']} {item['score']:.2f}"
    return f"{head}: discarded, {item['reason']}" if item["reason"] else f"{head}: kept"


def _picture(text: str) -> QtGui.QImage:
    return QtGui.QImage.fromData(base64.b64decode(text)) if text else QtGui.QImage()


def _tinted(mask: QtGui.QImage, colour: QtGui.QColor) -> QtGui.QImage:
    """A grey mask as a half transparent colour."""
    if mask.isNull():
        return mask
    tinted = QtGui.QImage(mask.size(), QtGui.QImage.Format.Format_ARGB32)
    see_through = QtGui.QColor(colour)
    see_through.setAlpha(110)
    tinted.fill(see_through)
    tinted.setAlphaChannel(_scaled_alpha(mask, 110))
    return tinted


def _scaled_alpha(mask: QtGui.QImage, most: int) -> QtGui.QImage:
    grey = mask.convertToFormat(QtGui.QImage.Format.Format_Grayscale8)
    shade = QtGui.QPainter(grey)
    shade.setCompositionMode(QtGui.QPainter.CompositionMode.CompositionMode_Multiply)
    shade.fillRect(grey.rect(), QtGui.QColor(most, most, most))
    shade.end()
    return grey


def _colour(index: int) -> QtGui.QColor:
    red, green, blue = colorsys.hsv_to_rgb((index * 0.618) % 1, 0.65, 1.0)
    return QtGui.QColor(round(red * 255), round(green * 255), round(blue * 255))
