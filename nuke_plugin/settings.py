"""What the plug-in keeps: the site's choices beside it, the artist's in the home folder.

JSON files of the fields below. Unknown keys are ignored; a broken file counts as defaults, and the
panel says so. The artist's file wins over the site's, field by field.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

SITE_FILE = Path(__file__).resolve().parent.parent / "segmatte_settings.json"
MOST_HISTORY = 20


@dataclass(frozen=True)
class Settings:
    """Everything that is kept."""

    server: str = ""
    """``host:port``; empty: the one the bridge finds."""
    bridge_python: str = ""
    """Python of the bridge; empty: the installed one."""
    output_template: str = "{script_dir}/segmatte/{plate}/v{version:03d}"
    """Folder of a result: script_dir, script, plate, user and version can stand in it."""
    shared_roots: tuple[str, ...] = ()
    """Folders everybody sees; a result elsewhere earns a warning. Empty: no warning."""
    path_maps: tuple[tuple[str, str, str], ...] = ()
    """The same folder on Linux, macOS and Windows."""
    history: tuple[str, ...] = ()
    """Prompts typed before, latest first."""
    detector: str = ""
    segmenter: str = ""
    priority: int = 0

    def with_prompt(self, text: str) -> Settings:
        """With a prompt at the head of the history."""
        if not text.strip():
            return self
        older = [item for item in self.history if item != text]
        return replace(self, history=(text, *older)[:MOST_HISTORY])

    def mapped(self, path: str, system: str = sys.platform) -> str:
        """A path as this system calls it."""
        here = {"linux": 0, "darwin": 1, "win32": 2}.get(system, 0)
        plain = path.replace("\\", "/")
        for names in self.path_maps:
            for name in names:
                root = name.replace("\\", "/").rstrip("/")
                if root and (plain == root or plain.startswith(root + "/")):
                    return names[here].replace("\\", "/").rstrip("/") + plain[len(root) :]
        return plain

    def is_shared(self, path: str) -> bool:
        """Whether a path lies on a declared shared root; yes where none is declared."""
        plain = path.replace("\\", "/")
        roots = [root.replace("\\", "/").rstrip("/") + "/" for root in self.shared_roots]
        return not roots or any((plain + "/").startswith(root) for root in roots)


@dataclass(frozen=True)
class Loaded:
    """Settings and what was wrong with their files."""

    settings: Settings
    warnings: tuple[str, ...] = field(default=())


def load(site: Path = SITE_FILE, user: Path | None = None) -> Loaded:
    """Settings of site and artist together; never fails."""
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for path in (site, user or user_file()):
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not a JSON object")
            values.update(_checked(content))
        except (OSError, ValueError, TypeError) as error:
            warnings.append(
                f"The settings in {path} are ignored: {error}. Mend or remove the file."
            )
    return Loaded(Settings(**values), tuple(warnings))


def save(settings: Settings, user: Path | None = None) -> None:
    """Keep the artist's settings.

    Raises:
        OSError: the file cannot be written.
    """
    path = user or user_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def user_file() -> Path:
    """Where the artist's settings lie."""
    return Path(os.environ.get("SEGMATTE_NUKE_SETTINGS") or Path.home() / ".nuke" / "segmatte.json")


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in fields(Settings):
        if item.name not in content:
            continue
        value, default = content[item.name], getattr(Settings(), item.name)
        if isinstance(default, tuple):
            if not isinstance(value, list):
                raise ValueError(f"{item.name} is not a list")
            value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
        elif not isinstance(value, type(default)):
            raise ValueError(f"{item.name} is not {type(default).__name__}")
        values[item.name] = value
    return values
