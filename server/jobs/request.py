"""What a job asks for, as the store keeps it and the worker reads it.

The one decision: a request holds what the *client* said (a path as the server calls it, contents
by hash), never an opened file or a folder of the server. The worker opens and links what it names
at the start of every attempt, under the rights of the job's owner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from server.errors import InputError, PromptError
from server.frames import Box, FrameRange, PlateFormat, PlateSettings
from server.prompts import ArtistPrompts, Keyframe, MaskFile, PromptedObject, as_data, parse_prompts

UPLOAD_SUFFIXES = ("png", "jpg", "jpeg", "exr", "dpx", "tif", "tiff")
"""Formats taken by upload; movies come from storage only."""


@dataclass(frozen=True)
class UploadedFrame:
    """One picture of an uploaded plate."""

    frame: int
    sha256: str
    """Hex."""
    suffix: str

    def __post_init__(self) -> None:
        check_suffix(self.suffix)


@dataclass(frozen=True)
class UploadedPlate:
    """A plate whose pictures were uploaded."""

    name: str
    """The plate's name for people, ``plate.####.exr``."""
    frames: tuple[UploadedFrame, ...]
    format: PlateFormat | None = None
    """Of the plate, where the pictures are model images of it; None: the pictures are the plate."""
    window: Box | None = None
    """The part of the plate a model image shows; None: the display window."""

    def __post_init__(self) -> None:
        numbers = [frame.frame for frame in self.frames]
        if not numbers:
            raise InputError("An uploaded plate needs at least one frame.")
        if len(set(numbers)) != len(numbers):
            raise InputError("An uploaded plate has two pictures for one frame. Send each once.")
        if len({frame.suffix for frame in self.frames}) != 1:
            raise InputError("The frames of an uploaded plate must be of one format.")


@dataclass(frozen=True)
class MaskSource:
    """Where an artist's mask of a request comes from."""

    name: str
    """The file name its keyframe uses."""
    path: str = ""
    """On storage, or empty."""
    sha256: str = ""
    """Of an upload, hex, or empty."""


@dataclass(frozen=True)
class ShotChoices:
    """Settings a client may choose; None means the usual value."""

    detector: str | None = None
    segmenter: str | None = None
    working_size: int | None = None
    detect_threshold: float | None = None
    suppress_iou: float | None = None
    joint_caption: bool | None = None
    clean_up: Literal["category", "paper"] | None = None
    step: int | None = None
    interval: int | None = None
    max_objects: int | None = None
    margin: float | None = None
    edge_width: float | None = None
    every_frame: bool = False


@dataclass(frozen=True)
class JobRequest:
    """One shot, or the correction of one."""

    plate: str | UploadedPlate
    """A path on the server, or uploaded pictures."""
    frame_range: FrameRange | None = None
    options: PlateSettings = field(default_factory=PlateSettings)
    prompt: str | None = None
    artist: ArtistPrompts = field(default_factory=ArtistPrompts)
    """Paths of masks are names of ``masks``."""
    masks: tuple[MaskSource, ...] = ()
    choices: ShotChoices = field(default_factory=ShotChoices)
    reference_job: str = ""
    outputs: tuple[str, ...] = ()
    """Beside the ObjectId files: ``cryptomatte``, ``masks``."""
    output_folder: str = ""
    correct_object: str = ""
    """Of a correction: the object whose keyframe ``artist`` holds."""

    @property
    def is_correction(self) -> bool:
        """Whether a finished shot is corrected."""
        return bool(self.correct_object)

    def contents(self) -> set[str]:
        """Hashes of all uploads it needs, hex."""
        found = {mask.sha256 for mask in self.masks if mask.sha256}
        if isinstance(self.plate, UploadedPlate):
            found |= {frame.sha256 for frame in self.plate.frames}
        return found

    def to_json(self) -> str:
        """As the store keeps it; equal requests give equal text."""
        plate: Any = self.plate
        if isinstance(plate, UploadedPlate):
            plate = asdict(plate)
            plate["frames"] = [[f.frame, f.sha256, f.suffix] for f in self.plate.frames]  # type: ignore[union-attr]
        data = {
            "plate": plate,
            "range": str(self.frame_range) if self.frame_range else None,
            "options": asdict(self.options),
            "prompt": self.prompt,
            "artist": as_data(self.artist),
            "masks": [asdict(mask) for mask in self.masks],
            "choices": {k: v for k, v in asdict(self.choices).items() if v is not None},
            "reference_job": self.reference_job,
            "outputs": list(self.outputs),
            "output_folder": self.output_folder,
            "correct_object": self.correct_object,
        }
        return json.dumps(data, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, *, masks: Path = Path()) -> JobRequest:
        """Read back what ``to_json`` gave.

        Args:
            text: of the store.
            masks: folder the names of masks are put into; kept relative if it is, so that the
                request reads the same in every attempt's folder.
        """
        data = json.loads(text)
        plate = data["plate"]
        if isinstance(plate, dict):
            plate = UploadedPlate(
                name=plate["name"],
                frames=tuple(UploadedFrame(*row) for row in plate["frames"]),
                format=_format(plate["format"]),
                window=Box(**plate["window"]) if plate["window"] else None,
            )
        return cls(
            plate=plate,
            frame_range=FrameRange.parse(data["range"]) if data["range"] else None,
            options=PlateSettings(**_known(PlateSettings, data["options"])),
            prompt=data["prompt"],
            artist=_relocate(parse_prompts(data["artist"], folder=Path("/")), masks),
            masks=tuple(MaskSource(**mask) for mask in data["masks"]),
            choices=ShotChoices(**_known(ShotChoices, data["choices"])),
            reference_job=data["reference_job"],
            outputs=tuple(data["outputs"]),
            output_folder=data["output_folder"],
            correct_object=data["correct_object"],
        )


def check_suffix(suffix: str) -> None:
    """Refuse formats that are not taken by upload.

    Raises:
        InputError: it is not on the list.
    """
    if suffix not in UPLOAD_SUFFIXES:
        raise InputError(
            f"Expected an uploaded picture to be one of {', '.join(UPLOAD_SUFFIXES)}, found "
            f"{suffix!r}. Movies are read from storage the server sees."
        )


def count_keyframes(artist: ArtistPrompts) -> int:
    """Keyframes of all objects."""
    return sum(len(item.keyframes) for item in artist.objects)


def single_keyframe(name: str, keyframe: Keyframe) -> ArtistPrompts:
    """Prompts of one object with one keyframe.

    Raises:
        PromptError: the name is none.
    """
    if not name:
        raise PromptError("A correction needs the name of the object, as its manifest has it.")
    return ArtistPrompts((PromptedObject(name, (keyframe,)),))


def mask_file(name: str, channel: str) -> MaskFile:
    """A mask of a request by its name."""
    return MaskFile(Path(name), channel)


def _relocate(artist: ArtistPrompts, folder: Path) -> ArtistPrompts:
    def place(keyframe: Keyframe) -> Keyframe:
        if keyframe.mask is None:
            return keyframe
        return replace(keyframe, mask=replace(keyframe.mask, path=folder / keyframe.mask.path.name))

    return ArtistPrompts(
        tuple(
            PromptedObject(item.name, tuple(map(place, item.keyframes))) for item in artist.objects
        )
    )


def _format(data: Mapping[str, Any] | None) -> PlateFormat | None:
    if data is None:
        return None
    return PlateFormat(
        Box(**data["display_window"]), Box(**data["data_window"]), data["pixel_aspect"]
    )


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in data.items() if key in names}
