"""A worker process: ``python -m server.executors.runner``, JSON lines on stdin and stdout.

It is told what to do, one order per line, and says what happens, one message per line::

    {"do": "run", "order": {…}}            {"say": "progress", …} {"say": "warning", …}
                                           {"say": "done", "note": …} or {"say": "error", …}
    {"do": "plan", "order": {…}}           {"say": "planned", "frames": […], "total": 40, …}
    {"do": "chunk", "order": {…}, "part": "cpu-1", "frames": […],
     "boxes_only": false}
                                           {"say": "key frame", "stage": …} {"say": "shared"};
                                           without frames: the plate is opened, models loaded
    {"do": "leave"}                        the shot of earlier chunks is let go
    {"do": "cancel"}                       the running job or chunk ends with CancelledError
    {"do": "preview" | "open" | "prompt" | "undo" | "close", "id": 7, …}
                                           {"say": "answer", "id": 7, …}

End of stdin means the server is gone: the process ends at once, wherever it is. It has no access
to the store; what it says is written down, or refused, by whoever started it. A message ``beat``
goes out twice a second while the process lives, so one that was stopped is noticed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import importlib
import io
import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from server.errors import PlateError, ResourceError, ServerError
from server.executors.sandbox import close_off, limit_resources
from server.progress import Cancellation, Progress

BEAT_SECONDS = 0.5
_PARENT_DIED = 1  # PR_SET_PDEATHSIG


def error_data(error: BaseException) -> dict[str, Any]:
    """An error as it crosses to the server."""
    if isinstance(error, MemoryError):
        error = ResourceError(
            "Memory ran out. Resume with fewer objects at a time (max_objects), a smaller working "
            "size, or on a larger machine."
        )
    known = isinstance(error, ServerError)
    frame = error.frame if isinstance(error, PlateError) else None
    message = str(error) if known else f"Internal error: {type(error).__name__}: {error}"
    return {
        "kind": type(error).__name__.rstrip("_") if known else "InternalError",
        "message": message,
        "retryable": isinstance(error, ResourceError),
        "frame": frame,
    }


class Voice:
    """Where messages go, from any thread; shows signs of life by itself from the first moment."""

    def __init__(self, messages: BinaryIO) -> None:
        """Begin to show signs of life."""
        self._messages = messages
        self._lock = threading.Lock()
        threading.Thread(target=self._beat, daemon=True, name="signs of life").start()

    def say(self, say: str, /, **values: Any) -> None:
        """Send a message."""
        line = json.dumps({"say": say, **values}).encode() + b"\n"
        with self._lock:
            self._messages.write(line)
            self._messages.flush()

    def _beat(self) -> None:
        waiting = threading.Event()
        with contextlib.suppress(OSError):  # nobody listens any more: stdin has ended, too
            while True:
                self.say("beat")
                waiting.wait(BEAT_SECONDS)


class Runner:
    """The process: reads orders, works on them one at a time."""

    def __init__(self, engine: Any, orders: BinaryIO, voice: Voice) -> None:
        """Serve an engine.

        Args:
            engine: see ``server.executors.engine.Engine``.
            orders: where orders come from.
            voice: where messages go.
        """
        self._engine = engine
        self._orders = orders
        self.say = voice.say
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancellation = Cancellation()
        self._sessions: dict[str, Any] = {}
        self._shared = contextlib.ExitStack()
        self._shared_key = ""

    def serve(self) -> None:
        """Work until stdin ends; never returns."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            order = self._waiting.get()
            try:
                if order["do"] in ("plan", "chunk"):
                    self._share(order)
                elif order["do"] == "leave":
                    self._leave()
                elif order["do"] == "run":
                    self._leave()
                    self._run(order)
                else:
                    answer = self._answer(order)
                    self.say("answer", id=order["id"], **answer)
            except BaseException as error:
                if not isinstance(error, ServerError):
                    traceback.print_exc()
                self.say("error", id=order.get("id"), **error_data(error))

    def _read(self) -> None:
        for line in self._orders:
            order = json.loads(line)
            if order["do"] == "cancel":
                self._cancellation.cancel()
            else:
                if order["do"] in ("run", "plan", "chunk"):
                    self._cancellation = Cancellation()
                self._waiting.put(order)
        os._exit(0)

    def _run(self, order: Mapping[str, Any]) -> None:
        from server.executors.prepare import Order, prepared

        cancellation = self._cancellation

        def report(progress: Progress) -> None:
            self.say(
                "progress",
                stage=progress.stage,
                done=progress.done,
                total=progress.total,
                unit=progress.unit,
                frame=progress.frame,
                message=progress.message,
            )

        with prepared(Order.from_data(order["order"])) as work:
            cancellation.raise_if_cancelled()
            note = self._engine.run(
                work,
                report=report,
                cancellation=cancellation,
                warn=lambda text: self.say("warning", text=text),
            )
        self.say("done", note=note)

    def _share(self, order: Mapping[str, Any]) -> None:
        """Do some key frames of a shot; it stays open for the next chunk of the same attempt."""
        from server.executors.prepare import Order, prepared

        if not hasattr(self._engine, "open_shared"):  # one that runs whole shots only
            if order["do"] == "plan":
                self.say("planned", frames=[], total=0, batch=1)
            else:
                self.say("shared")
            return
        what, cancellation = Order.from_data(order["order"]), self._cancellation
        if self._shared_key != what.folder:
            self._leave()
            work = self._shared.enter_context(prepared(what))
            shot = self._engine.open_shared(work, part=order["part"])
            self._shared.callback(shot.close)
            self._shot, self._shared_key = shot, what.folder
        if order["do"] == "plan":
            plan = self._shot.plan()
            self.say("planned", frames=plan.frames, total=plan.total, batch=plan.batch)
            return

        def report(progress: Progress) -> None:
            if progress.frame is not None:
                self.say("key frame", stage=progress.stage, frame=progress.frame)

        self._shot.do(
            order["frames"],
            boxes_only=order["boxes_only"],
            report=report,
            cancellation=cancellation,
        )
        self.say("shared")

    def _leave(self) -> None:
        self._shared.close()
        self._shared_key = ""

    def _answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        action = order["do"]
        if action == "preview":
            return self._preview(order)
        if action == "open":
            return self._open(order)
        if action == "close":
            self._sessions.pop(order["session"], None)
            return {}
        session = self._sessions.get(order["session"])
        if session is None:
            from server.jobs.errors import NotFoundError

            raise NotFoundError("This session has ended. Open a new one on the frame.")
        if action == "prompt":
            session.change(order["object"], order["prompt"])
        elif action == "undo":
            session.step(order["object"], -1 if not order["redo"] else 1)
        return cast("dict[str, Any]", session.answer(order["object"]))

    def _preview(self, order: Mapping[str, Any]) -> dict[str, Any]:
        from server.executors.prepare import Order, prepared

        what = Order.from_data(order["order"])
        with prepared(what) as work:
            shown, found = self._engine.preview(
                work, what.frame or 0, boxes_only=order["boxes_only"]
            )
        return {
            **_shown_data(shown, with_image=order["with_image"]),
            "candidates": [
                {
                    "category": c.category,
                    "score": c.score,
                    "box": c.box,
                    "reason": c.reason,
                    "object": c.object,
                    "mask": _png(c.mask) if c.mask is not None else "",
                }
                for c in found
            ],
        }

    def _open(self, order: Mapping[str, Any]) -> dict[str, Any]:
        from server.executors.prepare import Order, prepared
        from server.executors.session import ClickSession

        what = Order.from_data(order["order"])
        with prepared(what) as work:
            session = self._engine.open_session(work, what.frame or 0)
        self._sessions[order["session"]] = ClickSession(session)
        return _shown_data(session.shown, with_image=order["with_image"])


def _shown_data(shown: Any, *, with_image: bool) -> dict[str, Any]:
    pixels = shown.image.pixels
    return {
        "model_size": list(pixels.shape[:2]),
        "mask_size": list(shown.size),
        "format": {
            "display": _box_data(shown.format.display_window),
            "data": _box_data(shown.format.data_window),
            "pixel_aspect": shown.format.pixel_aspect,
        },
        "window": _box_data(shown.window),
        "image": _png(pixels) if with_image else "",
    }


def _box_data(box: Any) -> list[int]:
    return [box.x0, box.y0, box.x1, box.y1]


def _png(pixels: Any) -> str:
    from PIL import Image

    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "png", compress_level=1)
    return base64.b64encode(body.getvalue()).decode()


def main() -> None:
    """Become a worker."""
    parser = argparse.ArgumentParser(prog="segmatte worker")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--file-bytes", type=int, required=True)
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--read", action="append", default=[])
    parser.add_argument("--write", action="append", default=[])
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL, 0, 0, 0)
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    # Whatever a library prints must not end up between the messages.
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit_resources(file_bytes=arguments.file_bytes)
    if arguments.sandbox:  # before there is a second thread: rights are given up thread by thread
        read = [*arguments.read, str(Path(__file__).parents[2])]
        logging.info("sandbox: %s", close_off(read=read, write=arguments.write))
    voice = Voice(messages)
    module, _, name = arguments.engine.partition(":")
    engine = getattr(importlib.import_module(module), name)(arguments.device)
    runner = Runner(engine, sys.stdin.buffer, voice)
    runner.say("ready", pid=os.getpid())
    try:
        runner.serve()
    except BrokenPipeError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # at once: the reading thread holds stdin, an orderly end would wait for it


if __name__ == "__main__":
    main()
