from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Output(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_UNSPECIFIED: _ClassVar[Output]
    OUTPUT_OBJECTID: _ClassVar[Output]
    OUTPUT_CRYPTOMATTE: _ClassVar[Output]
    OUTPUT_MASKS: _ClassVar[Output]
    OUTPUT_PICTURES: _ClassVar[Output]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    QUEUED: _ClassVar[JobState]
    RUNNING: _ClassVar[JobState]
    DONE: _ClassVar[JobState]
    FAILED: _ClassVar[JobState]
    CANCELLED: _ClassVar[JobState]
OUTPUT_UNSPECIFIED: Output
OUTPUT_OBJECTID: Output
OUTPUT_CRYPTOMATTE: Output
OUTPUT_MASKS: Output
OUTPUT_PICTURES: Output
JOB_STATE_UNSPECIFIED: JobState
QUEUED: JobState
RUNNING: JobState
DONE: JobState
FAILED: JobState
CANCELLED: JobState

class GetServerInfoRequest(_message.Message):
    __slots__ = ("client_name", "client_version")
    CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    client_name: str
    client_version: str
    def __init__(self, client_name: _Optional[str] = ..., client_version: _Optional[str] = ...) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("name", "version", "api_major", "api_minor", "features", "user", "is_admin", "draining", "queued_jobs", "running_jobs", "models", "devices", "read_roots", "write_roots", "limits", "time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    API_MAJOR_FIELD_NUMBER: _ClassVar[int]
    API_MINOR_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    IS_ADMIN_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    READ_ROOTS_FIELD_NUMBER: _ClassVar[int]
    WRITE_ROOTS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    api_major: int
    api_minor: int
    features: _containers.RepeatedScalarFieldContainer[str]
    user: str
    is_admin: bool
    draining: bool
    queued_jobs: int
    running_jobs: int
    models: _containers.RepeatedCompositeFieldContainer[Model]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    read_roots: _containers.RepeatedCompositeFieldContainer[Root]
    write_roots: _containers.RepeatedCompositeFieldContainer[Root]
    limits: Limits
    time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., api_major: _Optional[int] = ..., api_minor: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., user: _Optional[str] = ..., is_admin: bool = ..., draining: bool = ..., queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., read_roots: _Optional[_Iterable[_Union[Root, _Mapping]]] = ..., write_roots: _Optional[_Iterable[_Union[Root, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "kind", "summary", "licence", "ready", "demo", "is_default")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Model.Kind]
        DETECTOR: _ClassVar[Model.Kind]
        SEGMENTER: _ClassVar[Model.Kind]
    KIND_UNSPECIFIED: Model.Kind
    DETECTOR: Model.Kind
    SEGMENTER: Model.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DEMO_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Model.Kind
    summary: str
    licence: str
    ready: bool
    demo: bool
    is_default: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Model.Kind, str]] = ..., summary: _Optional[str] = ..., licence: _Optional[str] = ..., ready: bool = ..., demo: bool = ..., is_default: bool = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("name", "worker", "job_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    worker: str
    job_id: str
    def __init__(self, name: _Optional[str] = ..., worker: _Optional[str] = ..., job_id: _Optional[str] = ...) -> None: ...

class Root(_message.Message):
    __slots__ = ("path", "aliases")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    path: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("message_bytes", "frame_bytes", "frame_pixels", "frames", "upload_bytes", "queued_jobs", "running_jobs", "streams", "sessions", "session_idle_seconds", "keyframes")
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_PIXELS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    SESSION_IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEYFRAMES_FIELD_NUMBER: _ClassVar[int]
    message_bytes: int
    frame_bytes: int
    frame_pixels: int
    frames: int
    upload_bytes: int
    queued_jobs: int
    running_jobs: int
    streams: int
    sessions: int
    session_idle_seconds: int
    keyframes: int
    def __init__(self, message_bytes: _Optional[int] = ..., frame_bytes: _Optional[int] = ..., frame_pixels: _Optional[int] = ..., frames: _Optional[int] = ..., upload_bytes: _Optional[int] = ..., queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., streams: _Optional[int] = ..., sessions: _Optional[int] = ..., session_idle_seconds: _Optional[int] = ..., keyframes: _Optional[int] = ...) -> None: ...

class ListFolderRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class Folder(_message.Message):
    __slots__ = ("path", "folders", "plates", "truncated")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FOLDERS_FIELD_NUMBER: _ClassVar[int]
    PLATES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    path: str
    folders: _containers.RepeatedScalarFieldContainer[str]
    plates: _containers.RepeatedCompositeFieldContainer[PlateEntry]
    truncated: bool
    def __init__(self, path: _Optional[str] = ..., folders: _Optional[_Iterable[str]] = ..., plates: _Optional[_Iterable[_Union[PlateEntry, _Mapping]]] = ..., truncated: bool = ...) -> None: ...

class PlateEntry(_message.Message):
    __slots__ = ("path", "name", "first_frame", "last_frame", "frame_count")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    path: str
    name: str
    first_frame: int
    last_frame: int
    frame_count: int
    def __init__(self, path: _Optional[str] = ..., name: _Optional[str] = ..., first_frame: _Optional[int] = ..., last_frame: _Optional[int] = ..., frame_count: _Optional[int] = ...) -> None: ...

class PlateSource(_message.Message):
    __slots__ = ("path", "upload")
    PATH_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    path: str
    upload: UploadedPlate
    def __init__(self, path: _Optional[str] = ..., upload: _Optional[_Union[UploadedPlate, _Mapping]] = ...) -> None: ...

class UploadedPlate(_message.Message):
    __slots__ = ("name", "kind", "frames", "format", "window")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[UploadedPlate.Kind]
        PLATE: _ClassVar[UploadedPlate.Kind]
        MODEL_IMAGE: _ClassVar[UploadedPlate.Kind]
    KIND_UNSPECIFIED: UploadedPlate.Kind
    PLATE: UploadedPlate.Kind
    MODEL_IMAGE: UploadedPlate.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: UploadedPlate.Kind
    frames: _containers.RepeatedCompositeFieldContainer[UploadedFrame]
    format: PlateFormat
    window: Box
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[UploadedPlate.Kind, str]] = ..., frames: _Optional[_Iterable[_Union[UploadedFrame, _Mapping]]] = ..., format: _Optional[_Union[PlateFormat, _Mapping]] = ..., window: _Optional[_Union[Box, _Mapping]] = ...) -> None: ...

class UploadedFrame(_message.Message):
    __slots__ = ("frame", "sha256", "suffix")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    frame: int
    sha256: bytes
    suffix: str
    def __init__(self, frame: _Optional[int] = ..., sha256: _Optional[bytes] = ..., suffix: _Optional[str] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x0", "y0", "x1", "y1")
    X0_FIELD_NUMBER: _ClassVar[int]
    Y0_FIELD_NUMBER: _ClassVar[int]
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    x0: int
    y0: int
    x1: int
    y1: int
    def __init__(self, x0: _Optional[int] = ..., y0: _Optional[int] = ..., x1: _Optional[int] = ..., y1: _Optional[int] = ...) -> None: ...

class PlateFormat(_message.Message):
    __slots__ = ("display_window", "data_window", "pixel_aspect")
    DISPLAY_WINDOW_FIELD_NUMBER: _ClassVar[int]
    DATA_WINDOW_FIELD_NUMBER: _ClassVar[int]
    PIXEL_ASPECT_FIELD_NUMBER: _ClassVar[int]
    display_window: Box
    data_window: Box
    pixel_aspect: float
    def __init__(self, display_window: _Optional[_Union[Box, _Mapping]] = ..., data_window: _Optional[_Union[Box, _Mapping]] = ..., pixel_aspect: _Optional[float] = ...) -> None: ...

class FrameRange(_message.Message):
    __slots__ = ("first", "last", "step")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    step: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class PlateOptions(_message.Message):
    __slots__ = ("colorspace", "display", "view", "ocio_config", "exposure_stops", "auto_exposure", "window", "gaps", "part", "eye", "layer", "pixel_aspect", "first_movie_frame")
    class Window(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WINDOW_UNSPECIFIED: _ClassVar[PlateOptions.Window]
        DISPLAY: _ClassVar[PlateOptions.Window]
        DATA: _ClassVar[PlateOptions.Window]
    WINDOW_UNSPECIFIED: PlateOptions.Window
    DISPLAY: PlateOptions.Window
    DATA: PlateOptions.Window
    class Gaps(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        GAPS_UNSPECIFIED: _ClassVar[PlateOptions.Gaps]
        ERROR: _ClassVar[PlateOptions.Gaps]
        HOLD: _ClassVar[PlateOptions.Gaps]
        SKIP: _ClassVar[PlateOptions.Gaps]
    GAPS_UNSPECIFIED: PlateOptions.Gaps
    ERROR: PlateOptions.Gaps
    HOLD: PlateOptions.Gaps
    SKIP: PlateOptions.Gaps
    COLORSPACE_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    OCIO_CONFIG_FIELD_NUMBER: _ClassVar[int]
    EXPOSURE_STOPS_FIELD_NUMBER: _ClassVar[int]
    AUTO_EXPOSURE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    EYE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PIXEL_ASPECT_FIELD_NUMBER: _ClassVar[int]
    FIRST_MOVIE_FRAME_FIELD_NUMBER: _ClassVar[int]
    colorspace: str
    display: str
    view: str
    ocio_config: str
    exposure_stops: float
    auto_exposure: bool
    window: PlateOptions.Window
    gaps: PlateOptions.Gaps
    part: str
    eye: str
    layer: str
    pixel_aspect: float
    first_movie_frame: int
    def __init__(self, colorspace: _Optional[str] = ..., display: _Optional[str] = ..., view: _Optional[str] = ..., ocio_config: _Optional[str] = ..., exposure_stops: _Optional[float] = ..., auto_exposure: bool = ..., window: _Optional[_Union[PlateOptions.Window, str]] = ..., gaps: _Optional[_Union[PlateOptions.Gaps, str]] = ..., part: _Optional[str] = ..., eye: _Optional[str] = ..., layer: _Optional[str] = ..., pixel_aspect: _Optional[float] = ..., first_movie_frame: _Optional[int] = ...) -> None: ...

class Prompts(_message.Message):
    __slots__ = ("text", "objects")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    objects: _containers.RepeatedCompositeFieldContainer[PromptedObject]
    def __init__(self, text: _Optional[str] = ..., objects: _Optional[_Iterable[_Union[PromptedObject, _Mapping]]] = ...) -> None: ...

class PromptedObject(_message.Message):
    __slots__ = ("name", "keyframes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEYFRAMES_FIELD_NUMBER: _ClassVar[int]
    name: str
    keyframes: _containers.RepeatedCompositeFieldContainer[Keyframe]
    def __init__(self, name: _Optional[str] = ..., keyframes: _Optional[_Iterable[_Union[Keyframe, _Mapping]]] = ...) -> None: ...

class Keyframe(_message.Message):
    __slots__ = ("frame", "points", "box", "polygons", "mask")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    POLYGONS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    frame: int
    points: _containers.RepeatedCompositeFieldContainer[PointPrompt]
    box: BoxPrompt
    polygons: _containers.RepeatedCompositeFieldContainer[Polygon]
    mask: MaskPrompt
    def __init__(self, frame: _Optional[int] = ..., points: _Optional[_Iterable[_Union[PointPrompt, _Mapping]]] = ..., box: _Optional[_Union[BoxPrompt, _Mapping]] = ..., polygons: _Optional[_Iterable[_Union[Polygon, _Mapping]]] = ..., mask: _Optional[_Union[MaskPrompt, _Mapping]] = ...) -> None: ...

class PointPrompt(_message.Message):
    __slots__ = ("x", "y", "negative")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    negative: bool
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., negative: bool = ...) -> None: ...

class BoxPrompt(_message.Message):
    __slots__ = ("x0", "y0", "x1", "y1")
    X0_FIELD_NUMBER: _ClassVar[int]
    Y0_FIELD_NUMBER: _ClassVar[int]
    X1_FIELD_NUMBER: _ClassVar[int]
    Y1_FIELD_NUMBER: _ClassVar[int]
    x0: float
    y0: float
    x1: float
    y1: float
    def __init__(self, x0: _Optional[float] = ..., y0: _Optional[float] = ..., x1: _Optional[float] = ..., y1: _Optional[float] = ...) -> None: ...

class Vertex(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Polygon(_message.Message):
    __slots__ = ("points", "feather", "operation", "opacity")
    class Operation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OPERATION_UNSPECIFIED: _ClassVar[Polygon.Operation]
        ADD: _ClassVar[Polygon.Operation]
        SUBTRACT: _ClassVar[Polygon.Operation]
        INTERSECT: _ClassVar[Polygon.Operation]
    OPERATION_UNSPECIFIED: Polygon.Operation
    ADD: Polygon.Operation
    SUBTRACT: Polygon.Operation
    INTERSECT: Polygon.Operation
    POINTS_FIELD_NUMBER: _ClassVar[int]
    FEATHER_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPACITY_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[Vertex]
    feather: _containers.RepeatedCompositeFieldContainer[Vertex]
    operation: Polygon.Operation
    opacity: float
    def __init__(self, points: _Optional[_Iterable[_Union[Vertex, _Mapping]]] = ..., feather: _Optional[_Iterable[_Union[Vertex, _Mapping]]] = ..., operation: _Optional[_Union[Polygon.Operation, str]] = ..., opacity: _Optional[float] = ...) -> None: ...

class MaskPrompt(_message.Message):
    __slots__ = ("path", "sha256", "channel", "suffix")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    path: str
    sha256: bytes
    channel: str
    suffix: str
    def __init__(self, path: _Optional[str] = ..., sha256: _Optional[bytes] = ..., channel: _Optional[str] = ..., suffix: _Optional[str] = ...) -> None: ...

class SubmitShotRequest(_message.Message):
    __slots__ = ("request_id", "plate", "range", "options", "prompts", "settings", "reference_job_id", "outputs", "priority", "output_folder", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PLATE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FOLDER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    plate: PlateSource
    range: FrameRange
    options: PlateOptions
    prompts: Prompts
    settings: ShotSettings
    reference_job_id: str
    outputs: _containers.RepeatedScalarFieldContainer[Output]
    priority: int
    output_folder: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, request_id: _Optional[str] = ..., plate: _Optional[_Union[PlateSource, _Mapping]] = ..., range: _Optional[_Union[FrameRange, _Mapping]] = ..., options: _Optional[_Union[PlateOptions, _Mapping]] = ..., prompts: _Optional[_Union[Prompts, _Mapping]] = ..., settings: _Optional[_Union[ShotSettings, _Mapping]] = ..., reference_job_id: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[Output, str]]] = ..., priority: _Optional[int] = ..., output_folder: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ShotSettings(_message.Message):
    __slots__ = ("detector", "segmenter", "working_size", "detect_threshold", "joint_caption", "step", "interval", "max_objects", "edge_width", "suppress_iou", "clean_up", "margin", "every_frame")
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    SEGMENTER_FIELD_NUMBER: _ClassVar[int]
    WORKING_SIZE_FIELD_NUMBER: _ClassVar[int]
    DETECT_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    JOINT_CAPTION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_OBJECTS_FIELD_NUMBER: _ClassVar[int]
    EDGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_IOU_FIELD_NUMBER: _ClassVar[int]
    CLEAN_UP_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    EVERY_FRAME_FIELD_NUMBER: _ClassVar[int]
    detector: str
    segmenter: str
    working_size: int
    detect_threshold: float
    joint_caption: bool
    step: int
    interval: int
    max_objects: int
    edge_width: float
    suppress_iou: float
    clean_up: str
    margin: float
    every_frame: bool
    def __init__(self, detector: _Optional[str] = ..., segmenter: _Optional[str] = ..., working_size: _Optional[int] = ..., detect_threshold: _Optional[float] = ..., joint_caption: bool = ..., step: _Optional[int] = ..., interval: _Optional[int] = ..., max_objects: _Optional[int] = ..., edge_width: _Optional[float] = ..., suppress_iou: _Optional[float] = ..., clean_up: _Optional[str] = ..., margin: _Optional[float] = ..., every_frame: bool = ...) -> None: ...

class CorrectShotRequest(_message.Message):
    __slots__ = ("request_id", "job_id", "object", "keyframe", "priority", "output_folder", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FOLDER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    job_id: str
    object: str
    keyframe: Keyframe
    priority: int
    output_folder: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, request_id: _Optional[str] = ..., job_id: _Optional[str] = ..., object: _Optional[str] = ..., keyframe: _Optional[_Union[Keyframe, _Mapping]] = ..., priority: _Optional[int] = ..., output_folder: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "owner", "state", "kind", "priority", "queue_position", "cancel_requested", "attempt", "created", "started", "finished", "plate", "prompt", "object_names", "range", "progress", "error", "result_note", "output_folder", "labels", "request_id", "source_job_id", "last_event", "device", "warnings")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    PLATE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_NAMES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_NOTE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FOLDER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    owner: str
    state: JobState
    kind: str
    priority: int
    queue_position: int
    cancel_requested: bool
    attempt: int
    created: _timestamp_pb2.Timestamp
    started: _timestamp_pb2.Timestamp
    finished: _timestamp_pb2.Timestamp
    plate: str
    prompt: str
    object_names: _containers.RepeatedScalarFieldContainer[str]
    range: FrameRange
    progress: Progress
    error: JobError
    result_note: str
    output_folder: str
    labels: _containers.ScalarMap[str, str]
    request_id: str
    source_job_id: str
    last_event: int
    device: str
    warnings: int
    def __init__(self, id: _Optional[str] = ..., owner: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., kind: _Optional[str] = ..., priority: _Optional[int] = ..., queue_position: _Optional[int] = ..., cancel_requested: bool = ..., attempt: _Optional[int] = ..., created: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., finished: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., plate: _Optional[str] = ..., prompt: _Optional[str] = ..., object_names: _Optional[_Iterable[str]] = ..., range: _Optional[_Union[FrameRange, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., result_note: _Optional[str] = ..., output_folder: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., source_job_id: _Optional[str] = ..., last_event: _Optional[int] = ..., device: _Optional[str] = ..., warnings: _Optional[int] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("kind", "message", "retryable", "frame", "has_frame")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    HAS_FRAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    retryable: bool
    frame: int
    has_frame: bool
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ..., retryable: bool = ..., frame: _Optional[int] = ..., has_frame: bool = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("stage", "stages", "frames_done", "frames_total", "frames_per_minute", "seconds_left", "message")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DONE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    stage: str
    stages: _containers.RepeatedCompositeFieldContainer[StageProgress]
    frames_done: int
    frames_total: int
    frames_per_minute: float
    seconds_left: float
    message: str
    def __init__(self, stage: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[StageProgress, _Mapping]]] = ..., frames_done: _Optional[int] = ..., frames_total: _Optional[int] = ..., frames_per_minute: _Optional[float] = ..., seconds_left: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class StageProgress(_message.Message):
    __slots__ = ("name", "done", "total", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    done: int
    total: int
    unit: str
    def __init__(self, name: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., unit: _Optional[str] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("number", "kind", "time", "text", "frame")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[JobEvent.Kind]
        STATE: _ClassVar[JobEvent.Kind]
        STAGE: _ClassVar[JobEvent.Kind]
        FRAME: _ClassVar[JobEvent.Kind]
        LOG: _ClassVar[JobEvent.Kind]
        WARNING: _ClassVar[JobEvent.Kind]
    KIND_UNSPECIFIED: JobEvent.Kind
    STATE: JobEvent.Kind
    STAGE: JobEvent.Kind
    FRAME: JobEvent.Kind
    LOG: JobEvent.Kind
    WARNING: JobEvent.Kind
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    number: int
    kind: JobEvent.Kind
    time: _timestamp_pb2.Timestamp
    text: str
    frame: int
    def __init__(self, number: _Optional[int] = ..., kind: _Optional[_Union[JobEvent.Kind, str]] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., text: _Optional[str] = ..., frame: _Optional[int] = ...) -> None: ...

class JobUpdate(_message.Message):
    __slots__ = ("job", "events")
    JOB_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    job: Job
    events: _containers.RepeatedCompositeFieldContainer[JobEvent]
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., events: _Optional[_Iterable[_Union[JobEvent, _Mapping]]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "after_event")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_event: int
    def __init__(self, job_id: _Optional[str] = ..., after_event: _Optional[int] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetPriorityRequest(_message.Message):
    __slots__ = ("job_id", "priority")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    priority: int
    def __init__(self, job_id: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("states", "owner", "text", "labels", "page_size", "page_token")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATES_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[JobState]
    owner: str
    text: str
    labels: _containers.ScalarMap[str, str]
    page_size: int
    page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[JobState, str]]] = ..., owner: _Optional[str] = ..., text: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class FindMissingRequest(_message.Message):
    __slots__ = ("contents",)
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    contents: _containers.RepeatedCompositeFieldContainer[Content]
    def __init__(self, contents: _Optional[_Iterable[_Union[Content, _Mapping]]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size_bytes: int
    def __init__(self, sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class FindMissingResponse(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedCompositeFieldContainer[MissingContent]
    def __init__(self, missing: _Optional[_Iterable[_Union[MissingContent, _Mapping]]] = ...) -> None: ...

class MissingContent(_message.Message):
    __slots__ = ("sha256", "received_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    received_bytes: int
    def __init__(self, sha256: _Optional[bytes] = ..., received_bytes: _Optional[int] = ...) -> None: ...

class UploadChunk(_message.Message):
    __slots__ = ("begin", "data")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    begin: UploadBegin
    data: bytes
    def __init__(self, begin: _Optional[_Union[UploadBegin, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadBegin(_message.Message):
    __slots__ = ("sha256", "size_bytes", "offset")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size_bytes: int
    offset: int
    def __init__(self, sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class UploadFramesResponse(_message.Message):
    __slots__ = ("stored", "received_bytes")
    STORED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    stored: int
    received_bytes: int
    def __init__(self, stored: _Optional[int] = ..., received_bytes: _Optional[int] = ...) -> None: ...

class ListResultsRequest(_message.Message):
    __slots__ = ("job_id", "range", "frames_only")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_ONLY_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    range: FrameRange
    frames_only: bool
    def __init__(self, job_id: _Optional[str] = ..., range: _Optional[_Union[FrameRange, _Mapping]] = ..., frames_only: bool = ...) -> None: ...

class ListResultsResponse(_message.Message):
    __slots__ = ("files", "complete")
    FILES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[ResultFile]
    complete: bool
    def __init__(self, files: _Optional[_Iterable[_Union[ResultFile, _Mapping]]] = ..., complete: bool = ...) -> None: ...

class ResultFile(_message.Message):
    __slots__ = ("name", "size_bytes", "sha256", "has_frame", "frame")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    HAS_FRAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    sha256: bytes
    has_frame: bool
    frame: int
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., has_frame: bool = ..., frame: _Optional[int] = ...) -> None: ...

class DownloadResultRequest(_message.Message):
    __slots__ = ("job_id", "name", "offset", "length")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    name: str
    offset: int
    length: int
    def __init__(self, job_id: _Optional[str] = ..., name: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class DownloadChunk(_message.Message):
    __slots__ = ("file", "data")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file: ResultFile
    data: bytes
    def __init__(self, file: _Optional[_Union[ResultFile, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PreviewFrameRequest(_message.Message):
    __slots__ = ("plate", "options", "frame", "prompts", "settings", "boxes_only", "with_image", "image_size")
    PLATE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    BOXES_ONLY_FIELD_NUMBER: _ClassVar[int]
    WITH_IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    plate: PlateSource
    options: PlateOptions
    frame: int
    prompts: Prompts
    settings: ShotSettings
    boxes_only: bool
    with_image: bool
    image_size: int
    def __init__(self, plate: _Optional[_Union[PlateSource, _Mapping]] = ..., options: _Optional[_Union[PlateOptions, _Mapping]] = ..., frame: _Optional[int] = ..., prompts: _Optional[_Union[Prompts, _Mapping]] = ..., settings: _Optional[_Union[ShotSettings, _Mapping]] = ..., boxes_only: bool = ..., with_image: bool = ..., image_size: _Optional[int] = ...) -> None: ...

class PreviewItem(_message.Message):
    __slots__ = ("head", "image", "candidate")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    head: PreviewHead
    image: ImageChunk
    candidate: Candidate
    def __init__(self, head: _Optional[_Union[PreviewHead, _Mapping]] = ..., image: _Optional[_Union[ImageChunk, _Mapping]] = ..., candidate: _Optional[_Union[Candidate, _Mapping]] = ...) -> None: ...

class PreviewHead(_message.Message):
    __slots__ = ("width", "height", "mask_width", "mask_height", "format", "window", "candidates", "seconds")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MASK_WIDTH_FIELD_NUMBER: _ClassVar[int]
    MASK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    mask_width: int
    mask_height: int
    format: PlateFormat
    window: Box
    candidates: int
    seconds: float
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., mask_width: _Optional[int] = ..., mask_height: _Optional[int] = ..., format: _Optional[_Union[PlateFormat, _Mapping]] = ..., window: _Optional[_Union[Box, _Mapping]] = ..., candidates: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class ImageChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("category", "score", "box", "reason", "mask_png", "object")
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MASK_PNG_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    category: str
    score: float
    box: BoxPrompt
    reason: str
    mask_png: bytes
    object: str
    def __init__(self, category: _Optional[str] = ..., score: _Optional[float] = ..., box: _Optional[_Union[BoxPrompt, _Mapping]] = ..., reason: _Optional[str] = ..., mask_png: _Optional[bytes] = ..., object: _Optional[str] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("plate", "options", "frame", "segmenter", "working_size", "with_image")
    PLATE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SEGMENTER_FIELD_NUMBER: _ClassVar[int]
    WORKING_SIZE_FIELD_NUMBER: _ClassVar[int]
    WITH_IMAGE_FIELD_NUMBER: _ClassVar[int]
    plate: PlateSource
    options: PlateOptions
    frame: int
    segmenter: str
    working_size: int
    with_image: bool
    def __init__(self, plate: _Optional[_Union[PlateSource, _Mapping]] = ..., options: _Optional[_Union[PlateOptions, _Mapping]] = ..., frame: _Optional[int] = ..., segmenter: _Optional[str] = ..., working_size: _Optional[int] = ..., with_image: bool = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("head", "image")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    head: SessionHead
    image: ImageChunk
    def __init__(self, head: _Optional[_Union[SessionHead, _Mapping]] = ..., image: _Optional[_Union[ImageChunk, _Mapping]] = ...) -> None: ...

class SessionHead(_message.Message):
    __slots__ = ("session_id", "width", "height", "mask_width", "mask_height", "format", "window")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MASK_WIDTH_FIELD_NUMBER: _ClassVar[int]
    MASK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    width: int
    height: int
    mask_width: int
    mask_height: int
    format: PlateFormat
    window: Box
    def __init__(self, session_id: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., mask_width: _Optional[int] = ..., mask_height: _Optional[int] = ..., format: _Optional[_Union[PlateFormat, _Mapping]] = ..., window: _Optional[_Union[Box, _Mapping]] = ...) -> None: ...

class PromptSessionRequest(_message.Message):
    __slots__ = ("session_id", "object", "points", "box", "mask_png")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    MASK_PNG_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    object: str
    points: _containers.RepeatedCompositeFieldContainer[PointPrompt]
    box: BoxPrompt
    mask_png: bytes
    def __init__(self, session_id: _Optional[str] = ..., object: _Optional[str] = ..., points: _Optional[_Iterable[_Union[PointPrompt, _Mapping]]] = ..., box: _Optional[_Union[BoxPrompt, _Mapping]] = ..., mask_png: _Optional[bytes] = ...) -> None: ...

class UndoSessionRequest(_message.Message):
    __slots__ = ("session_id", "object", "redo")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    REDO_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    object: str
    redo: bool
    def __init__(self, session_id: _Optional[str] = ..., object: _Optional[str] = ..., redo: bool = ...) -> None: ...

class SessionMask(_message.Message):
    __slots__ = ("object", "mask_png", "points", "box", "can_undo", "can_redo", "seconds")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    MASK_PNG_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    CAN_UNDO_FIELD_NUMBER: _ClassVar[int]
    CAN_REDO_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    object: str
    mask_png: bytes
    points: _containers.RepeatedCompositeFieldContainer[PointPrompt]
    box: BoxPrompt
    can_undo: bool
    can_redo: bool
    seconds: float
    def __init__(self, object: _Optional[str] = ..., mask_png: _Optional[bytes] = ..., points: _Optional[_Iterable[_Union[PointPrompt, _Mapping]]] = ..., box: _Optional[_Union[BoxPrompt, _Mapping]] = ..., can_undo: bool = ..., can_redo: bool = ..., seconds: _Optional[float] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
