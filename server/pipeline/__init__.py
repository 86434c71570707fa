"""A whole shot: the stages joined by files, so that any of them can stop and go on.

``run_shot`` does it all in one process; ``run_stage`` one stage at a time.
"""

from server.pipeline.correct import correct_shot
from server.pipeline.folder import ResultFolder
from server.pipeline.preview import FramePreview, preview_frame
from server.pipeline.request import Models, SegmenterTracker, ShotRequest, working_size
from server.pipeline.shot import STAGES, ShotResult, Stage, read_request, run_shot, run_stage

__all__ = [
    "STAGES",
    "FramePreview",
    "Models",
    "ResultFolder",
    "SegmenterTracker",
    "ShotRequest",
    "ShotResult",
    "Stage",
    "correct_shot",
    "preview_frame",
    "read_request",
    "run_shot",
    "run_stage",
    "working_size",
]
