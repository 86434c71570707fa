"""The prompt bench: a text prompt tried on one frame."""

from __future__ import annotations

from typing import Any

from client.web import messages
from client.web.access import SignedIn
from protos import segmatte_pb2 as wire


def preview(visit: SignedIn, data: dict[str, Any]) -> dict[str, Any]:
    """Stages 1 and 2 on one frame: what is kept, and what is not and why.

    Args:
        visit: who asks.
        data: ``plate``, ``options``, ``frame``, ``text``, ``objects``, ``settings``,
            ``boxes_only``.
    """
    head, _, candidates = visit.client.preview(
        wire.PreviewFrameRequest(
            plate=messages.plate(visit, messages.value(data, "plate", dict, {})),
            options=messages.options(messages.value(data, "options", dict, {})),
            frame=messages.value(data, "frame", int, 0),
            prompts=messages.prompts(data),
            settings=messages.settings(messages.value(data, "settings", dict, {})),
            boxes_only=messages.value(data, "boxes_only", bool, False),
        )
    )
    return {
        **messages.shown(head),
        "seconds": head.seconds,
        "candidates": [messages.candidate_data(item) for item in candidates],
    }
