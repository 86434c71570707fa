"""A bridge with a pretended server behind it: the real protocol loop over a small service.

``python -m tests.nuke.fake_bridge [MOOD]``; moods: ``prints``, ``old``, ``garbage``, ``silent``.
It keeps jobs in memory and "computes" one frame each time it is asked how a job is.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
import time
import zlib

from client.bridge import protocol


class FailingError(Exception):
    def __init__(self, kind, message, retryable=False):
        super().__init__(message)
        self.kind, self.retryable = kind, retryable


def png(width, height, grey):
    """A small grey PNG."""
    rows = b"".join(b"\0" + bytes([grey] * width) for _ in range(height))

    def chunk(name, data):
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x08\0\0\0\0")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class FakeService:
    """Answers like the client library, from memory."""

    version = "0.1.0"

    def __init__(self, results=None, mood=""):
        self.jobs = {}
        self.results = results
        self.mood = mood
        self.calls = {
            name: getattr(self, name)
            for name in ("info", "submit", "jobs_list", "follow", "cancel", "retry", "preview",
                         "log", "crash")
        }  # fmt: skip
        self.calls["jobs"] = self.calls.pop("jobs_list")

    def info(self, *, emit, stopping, server=""):
        if self.mood == "prints":
            print("a library prints to stdout")
        if server.startswith("away"):
            raise FailingError(
                "UnreachableError",
                f"No server answers at {server}. Start it there, or choose another address.",
                True,
            )
        return {
            "name": "demo-host", "version": "0.1.0", "user": "artist", "draining": False,
            "queued_jobs": 2, "running_jobs": 1, "features": ["correct"],
            "detectors": ["demo-groundingdino", "groundingdino-swin-t"],
            "segmenters": ["demo-sam2", "sam2.1-large"],
            "read_roots": ["/shows"],
        }  # fmt: skip

    def submit(self, *, emit, stopping, server="", shot):
        if shot["text"] == "unknown things" or not (shot["text"] or shot["objects"]):
            raise FailingError("PromptError", "The shot has no prompt. Type one, or choose shapes.")
        frames = shot["plate"].get("frames") or []
        for index, frame in enumerate(frames):
            assert os.path.isfile(frame["path"]), frame
            emit({"stage": "upload", "done": index + 1, "total": len(frames)})
        first, last = shot["range"]
        job = {
            "id": f"job{len(self.jobs) + 1}", "state": "queued", "created": len(self.jobs),
            "plate": shot["plate"].get("path") or shot["plate"]["name"],
            "reference_job": shot.get("reference_job", ""),
            "prompt": shot["text"], "frames_total": last - first + 1, "frames_done": 0,
            "first": first, "last": last, "stage": "", "frames_per_minute": 0.0,
            "seconds_left": -1.0, "error": "", "warnings": 0, "note": "",
            "objects": [o["name"] for o in shot["objects"]],
            "labels": shot["labels"], "request_id": shot["request_id"],
        }  # fmt: skip
        for other in self.jobs.values():
            if other["request_id"] == job["request_id"]:
                return {"job": other}
        self.jobs[job["id"]] = job
        return {"job": dict(job)}

    def jobs_list(self, *, emit, stopping, server=""):
        return {"jobs": list(self.jobs.values())}

    def follow(self, *, emit, stopping, server="", job, folder):
        """Frames appear from the end; the files are copied from a prepared result."""
        state = self.jobs[job]
        state["state"] = "running"
        for done, frame in enumerate(range(state["last"], state["first"] - 1, -1), 1):
            if stopping.is_set() or state["state"] == "cancelled":
                state["state"] = "cancelled"
                return {"job": dict(state)}
            self._copy(folder, frame)
            state.update(stage="track backward", frames_done=done, frames_per_minute=120.0,
                         seconds_left=(state["frames_total"] - done) / 2)  # fmt: skip
            emit({"job": dict(state), "frame": frame})
            time.sleep(0.01)
        self._copy(folder, None)
        state.update(state="done", stage="", seconds_left=0.0)
        return {"job": dict(state), "files": state["frames_total"] + 1}

    def _copy(self, folder, frame):
        if not self.results:
            return
        os.makedirs(os.path.join(folder, "objectid"), exist_ok=True)
        source = os.path.join(self.results, "objectid")
        if frame is None:
            shutil.copy(os.path.join(self.results, "shot.manifest.json"), folder)
            return
        for name in os.listdir(source):
            if f".{frame:04d}." in name:
                shutil.copy(os.path.join(source, name), os.path.join(folder, "objectid"))

    def cancel(self, *, emit, stopping, server="", job):
        self.jobs[job]["state"] = "cancelled"
        return {"job": self.jobs[job]}

    def retry(self, *, emit, stopping, server="", job):
        self.jobs[job].update(state="queued", error="")
        return {"job": self.jobs[job]}

    def log(self, *, emit, stopping, server="", job):
        return {"lines": ["12:00:01 taken by worker cpu", "12:00:02 detect: 3 persons"]}

    def preview(self, *, emit, stopping, server="", shot, frame):
        mask = base64.b64encode(png(32, 18, 255)).decode()
        return {
            "width": 320, "height": 180, "seconds": 0.4,
            "image_png": base64.b64encode(png(320, 180, 90)).decode(),
            "candidates": [
                {"category": "person", "score": 0.91, "box": [10, 20, 90, 170], "reason": "",
                 "mask_png": mask, "object": ""},
                {"category": "person", "score": 0.44, "box": [5, 10, 300, 175], "mask_png": "",
                 "reason": "holds two other persons", "object": ""},
            ],
        }  # fmt: skip

    def crash(self, *, emit, stopping):
        sys.stderr.write("about to fall over\n")
        sys.stderr.flush()
        os._exit(3)


def main():
    mood = sys.argv[1] if len(sys.argv) > 1 else ""
    if mood == "garbage":
        print("Traceback (most recent call last):", flush=True)
        sys.stdin.read()
        return
    if mood == "silent":
        sys.exit(7)
    if mood == "old":
        protocol.PROTOCOL = 99
    with protocol.clean_stdout() as sink:
        service = FakeService(os.environ.get("FAKE_RESULTS"), mood)
        protocol.serve(service, source=sys.stdin.buffer, sink=sink)


if __name__ == "__main__":
    main()
