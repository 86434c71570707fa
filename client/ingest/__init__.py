"""Ingest: every new plate of a folder is submitted once, its result put where the site wants it.

``folders`` looks at what lies there, ``journal`` remembers what became of it, ``watcher`` does what
is due. Nothing is known from events, only from looking again, so network folders work.
"""

from client.ingest.folders import SeenPlate, find_plates
from client.ingest.journal import Journal, Version, journal_of
from client.ingest.watcher import Asked, Watcher

__all__ = [
    "Asked",
    "Journal",
    "SeenPlate",
    "Version",
    "Watcher",
    "find_plates",
    "journal_of",
]
