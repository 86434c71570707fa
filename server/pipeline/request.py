"""What is asked of the pipeline for one shot, and where its models come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from server.deliver import EdgeSettings
from server.detect import Detector, DetectSettings
from server.errors import PromptError, SettingsError
from server.frames import FrameRange, PlateSettings
from server.prompts import VERSION, ArtistPrompts, as_data, parse_prompts
from server.segment import Segmenter, SegmentSettings
from server.track import MatchSettings, Tracker, TrackSettings


class SegmenterTracker(Segmenter, Tracker, Protocol):
    """One model behind stages 2 and 3, so that both share the features of a frame."""

    weights_sha256: str
    notes: list[str]
    computing: str

    @property
    def objects_per_batch(self) -> int:
        """Objects computed at once."""
        ...


class Models(Protocol):
    """Where a run gets its models; a long-lived worker keeps them warm between runs."""

    def detector(self) -> Detector:
        """The detector asked for, loaded."""
        ...

    def segmenter(self) -> SegmenterTracker:
        """The segmenter and tracker asked for, loaded."""
        ...

    def release_detector(self) -> None:
        """The detector is not needed any more for this shot; its memory may be given back."""
        ...


@dataclass(frozen=True)
class ShotRequest:
    """One shot and everything that decides its result."""

    plate: str
    """Path as ``open_plate`` takes it."""
    prompt: str | None = None
    """Text prompt, ``person, car``; None: artists' prompts only."""
    artist: ArtistPrompts = field(default_factory=ArtistPrompts)
    frame_range: FrameRange | None = None
    plate_settings: PlateSettings = field(default_factory=PlateSettings)
    reference: Path | None = None
    """Folder of an earlier result whose names and ids are inherited."""
    detector: str = "groundingdino-swin-t"
    segmenter: str = "sam2.1-large"
    working_size: int = 1024
    """Longest side of the image masks are tracked at; the plate's if that is smaller."""
    detect: DetectSettings = field(default_factory=DetectSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    edges: EdgeSettings = field(default_factory=EdgeSettings)
    every_frame: bool = False
    """Detect and segment on every frame, for previews and checks; mattes stay the same."""

    def __post_init__(self) -> None:
        if self.prompt is None and not self.artist.objects:
            raise PromptError(
                "Nothing is asked for. Give a text prompt (--prompt person) or artists' prompts "
                "(--prompts FILE.json)."
            )
        if not 64 <= self.working_size <= 8192:
            raise SettingsError(f"Working size must lie in 64..8192, not {self.working_size}.")

    def as_data(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values."""
        return {
            "plate": self.plate,
            "prompt": self.prompt,
            "artist": as_data(self.artist)["objects"],
            "range": str(self.frame_range) if self.frame_range else None,
            "plate_settings": asdict(self.plate_settings),
            "reference": str(self.reference) if self.reference else None,
            "detector": self.detector,
            "segmenter": self.segmenter,
            "working_size": self.working_size,
            "detect": asdict(self.detect),
            "segment": asdict(self.segment),
            "track": asdict(self.track),
            "edges": asdict(self.edges),
            "every_frame": self.every_frame,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ShotRequest:
        """A request from its JSON values, as ``as_data`` gives them."""
        track = dict(data["track"])
        match = MatchSettings(**track.pop("match"))
        return cls(
            plate=data["plate"],
            prompt=data["prompt"],
            artist=parse_prompts({"version": VERSION, "objects": data["artist"]}, folder=Path()),
            frame_range=FrameRange.parse(data["range"]) if data["range"] else None,
            plate_settings=PlateSettings(**data["plate_settings"]),
            reference=Path(data["reference"]) if data["reference"] else None,
            detector=data["detector"],
            segmenter=data["segmenter"],
            working_size=data["working_size"],
            detect=DetectSettings(**data["detect"]),
            segment=SegmentSettings(**data["segment"]),
            track=TrackSettings(match=match, **track),
            edges=EdgeSettings(**data["edges"]),
            every_frame=data["every_frame"],
        )


def working_size(model_size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Shape of the working image: the model image's, its longest side at most ``longest``.

    Args:
        model_size: (H, W).
        longest: pixels.
    """
    scale = min(1.0, longest / max(model_size))
    return max(1, round(model_size[0] * scale)), max(1, round(model_size[1] * scale))
