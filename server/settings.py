"""Settings of the server, in one place.

Order: command-line arguments, environment (``SEGMATTE_PORT``, ``SEGMATTE_LIMITS__FRAMES``), the
TOML file of ``--config`` or ``SEGMATTE_CONFIG``, defaults. ``segmatte serve --print-config`` prints
what comes out. A server without any settings listens on this machine alone, for the person
who started it; everything more open has to be asked for and is checked by ``check``.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import InitSettingsSource

from server.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_FILE: ContextVar[dict[str, Any] | None] = ContextVar("values of the settings file", default=None)


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "segmatte"


class RootSettings(BaseModel):
    """A folder that users may read plates from, or have results written to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    access: Literal["read", "write"] = "read"
    users: tuple[str, ...] = ("*",)
    groups: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class LimitSettings(BaseModel):
    """What one user, shot or upload may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame_bytes: int = Field(default=512 << 20, gt=0)
    """One uploaded file."""
    frame_pixels: int = Field(default=8192 * 8192, gt=0)
    """Width × height of one picture."""
    frames: int = Field(default=5000, gt=0)
    """Of one shot."""
    keyframes: int = Field(default=2000, gt=0)
    """Of all objects of one shot."""
    upload_bytes: int = Field(default=200 << 30, gt=0)
    """All uploads of one user."""
    queued_jobs: int = Field(default=2000, gt=0)
    """Of one user."""
    running_jobs: int = Field(default=4, gt=0)
    """Of one user at a time, so that nobody takes all devices."""
    streams: int = Field(default=64, gt=0)
    """Open streams of one user."""
    sessions: int = Field(default=4, gt=0)
    """Click sessions of one user."""
    session_idle_seconds: float = Field(default=600, gt=0)
    calls: int = Field(default=1000, gt=0)
    """Calls in work at a time, of all users."""


class RetentionSettings(BaseModel):
    """When finished jobs and unused uploads go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_days: float = Field(default=30, ge=0)
    """Ended jobs older than this."""
    job_bytes: int = Field(default=500 << 30, ge=0)
    """Files of all jobs together; the oldest ended jobs go first."""
    upload_days: float = Field(default=14, ge=0)
    """Uploads not used for this long."""
    every_seconds: float = Field(default=600, gt=0)


class ServerSettings(BaseSettings):
    """Everything a server can be told."""

    model_config = SettingsConfigDict(
        env_prefix="SEGMATTE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    host: str = "127.0.0.1"
    """Address to listen on. Any but a loopback address needs TLS and users."""
    port: int = Field(default=7766, ge=0, le=65535)
    """0: a free one; clients of this user find it."""
    name: str = Field(default_factory=socket.gethostname)
    """What clients show."""
    state: Path = Field(default_factory=_state_folder)
    """Job store, token, and without ``files`` all else: on a local disk."""
    files: Path | None = None
    """Uploads and files of jobs. Workers on other machines must see it under the same path, as they
    must plates. None: in ``state``."""
    tls_certificate: Path | None = None
    """PEM, with the chain."""
    tls_key: Path | None = None
    """PEM, readable by the server alone."""
    roots: tuple[RootSettings, ...] | None = None
    """Folders of plates. None: everything the person who started the server can read, which is
    allowed on the loopback address only."""
    devices: tuple[str, ...] = ()
    """One worker each: ``cuda:0``, ``cpu``. Empty: every GPU, else the CPU."""
    executor: Literal["local", "ray"] = "local"
    """Where workers run: processes of this machine, or actors of a Ray cluster."""
    engine: str = "server.executors.chunks:SharingEngine"
    """What a worker runs shots with."""
    detector: str = "groundingdino-swin-t"
    segmenter: str = "sam2.1-large"
    offered_models: tuple[str, ...] = ()
    """Models clients may choose. Empty: all official and demo models."""
    lease_seconds: float = Field(default=60, gt=0)
    """A worker silent for this long has lost its job."""
    hang_seconds: float = Field(default=1800, gt=0)
    """A worker that lives but finishes no frame for this long is ended. More than the slowest frame
    and the loading of models take."""
    max_crashes: int = Field(default=3, gt=0)
    """A job that lost its worker this often has failed."""
    stop_seconds: float = Field(default=120, gt=0)
    """Time a running frame has to finish when the server is told to stop."""
    interactive_idle_seconds: float = Field(default=900, gt=0)
    """The worker for previews and clicks frees its device when unused for this long."""
    threads_per_worker: int = Field(default=0, ge=0)
    """CPU threads of one worker; 0: all cores divided by the workers."""
    sandbox: bool = True
    """Close workers off from network, token and store, where the kernel can."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Prometheus metrics over http; 0: none."""
    metrics_host: str = "127.0.0.1"
    output_mode: str = "0644"
    """Mode of files written to write roots."""
    output_group: str = ""
    """Group of files written to write roots."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    limits: LimitSettings = LimitSettings()
    retention: RetentionSettings = RetentionSettings()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def store_path(self) -> Path:
        """The job store."""
        return self.state / "jobs.sqlite"

    @property
    def jobs_folder(self) -> Path:
        """Files of all jobs."""
        return (self.files or self.state) / "jobs"

    @property
    def uploads_folder(self) -> Path:
        """Uploads of all users."""
        return (self.files or self.state) / "uploads"

    @property
    def address_file(self) -> Path:
        """Where clients of the same user find the server."""
        return self.state / "server.json"

    def check(self, *, has_users: bool) -> None:
        """Refuse to serve in a way that would be open.

        Args:
            has_users: whether users were added.

        Raises:
            SettingsError: the address is not loopback and TLS or users are missing; a file of TLS
                is missing; the key can be read by others.
        """
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError("TLS needs both tls_certificate and tls_key, found one of them.")
        for path in (self.tls_certificate, self.tls_key):
            if path is not None and not path.is_file():
                raise SettingsError(f"Expected the TLS file {path}, found none.")
        if self.tls_key is not None and self.tls_key.stat().st_mode & 0o077:
            raise SettingsError(
                f"The TLS key {self.tls_key} can be read by others. Run: chmod 600 {self.tls_key}"
            )
        if self.is_loopback:
            return
        if self.tls_certificate is None:
            raise SettingsError(
                f"Listening on {self.host} needs TLS: set tls_certificate and tls_key, or listen "
                "on 127.0.0.1."
            )
        if not has_users:
            raise SettingsError(
                f"Listening on {self.host} needs users with tokens of their own. Add them: "
                "segmatte users add NAME"
            )

    def describe(self) -> str:
        """All settings as JSON, as they came out."""
        return json.dumps(self.model_dump(mode="json"), indent=2)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _FILE.get() or {})


def load_settings(arguments: Mapping[str, Any], *, config: Path | None = None) -> ServerSettings:
    """Settings from all sources.

    Args:
        arguments: of the command line; values that are None were not given.
        config: TOML file; None: the one ``SEGMATTE_CONFIG`` names, if any.

    Raises:
        SettingsError: a value is unknown or out of range; each is named with its place.
    """
    if config is None and (name := os.environ.get("SEGMATTE_CONFIG")):
        config = Path(name)
    token = _FILE.set(_read_file(config) if config else None)
    try:
        return ServerSettings(**{k: v for k, v in arguments.items() if v is not None})
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}, found "
            f"{str(item['input'])[:80]!r}"
            for item in error.errors()
        )
        raise SettingsError(f"The server's settings cannot be used. {places}.") from error
    finally:
        _FILE.reset(token)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error.strerror}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"The settings file {path} is not TOML: {error}.") from error
