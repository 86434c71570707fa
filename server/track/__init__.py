"""Stage 3: objects carried over the shot, in overlapping windows, forward and then backward.

``passes`` runs a shot; ``lockstep`` advances its windows; ``prompt`` matches stage 2 to what is
tracked already; ``cache`` holds the result and the rule by which a window changes it.
"""

from server.track.cache import FULL, CacheFolder, MaskCache
from server.track.lockstep import (
    Lockstep,
    Tracker,
    Window,
    WindowPrompt,
    layers_left_out,
    prompt_from_labels,
)
from server.track.passes import ArtistObject, Layer, ShotTracker, TrackSettings, key_indices
from server.track.prompt import GroupPrompt, MatchSettings, NewLayer, build_prompt

__all__ = [
    "FULL",
    "ArtistObject",
    "CacheFolder",
    "GroupPrompt",
    "Layer",
    "Lockstep",
    "MaskCache",
    "MatchSettings",
    "NewLayer",
    "ShotTracker",
    "TrackSettings",
    "Tracker",
    "Window",
    "WindowPrompt",
    "build_prompt",
    "key_indices",
    "layers_left_out",
    "prompt_from_labels",
]
