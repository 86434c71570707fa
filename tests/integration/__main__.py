"""Runs the integration groups one after the other, each with its seconds.

A group that cannot run here says why; unless it is listed in ``MAY_BE_SKIPPED``, that is a failure,
so that a missing package never passes for a green run.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

MAY_BE_SKIPPED: frozenset[str] = frozenset({"bare host"})
"""``bare host`` needs the rights to make a mount namespace."""


@dataclass(frozen=True)
class Group:
    """Tests under one heading."""

    name: str
    paths: tuple[str, ...]
    missing: Callable[[], str | None]
    """Why it cannot run here, or None."""


def needs(*programs: str) -> Callable[[], str | None]:
    """A check for programs on the path."""

    def missing() -> str | None:
        absent = [program for program in programs if shutil.which(program) is None]
        return f"{', '.join(absent)} not installed" if absent else None

    return missing


def needs_packages(*packages: str) -> Callable[[], str | None]:
    """A check for Python packages of extras."""

    def missing() -> str | None:
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        return f"no package {', '.join(absent)}" if absent else None

    return missing


def may_mount() -> str | None:
    """Whether a private mount namespace can be made."""
    done = subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else "no right to make a mount namespace"


GROUPS = (
    Group("bare host", ("tests/integration/test_bare_host.py",), may_mount),
    Group("other-language client", ("tests/integration/node_client",), needs("node", "npm")),
    Group("wire stubs", ("tests/unit/service/test_proto.py",), needs()),
    Group("official layouts", ("tests/system/test_models_fetch.py",), needs()),
    Group("server kills", ("tests/system/test_server_kills.py",), needs()),
    Group(
        "containers",
        ("tests/integration/containers",),
        needs("buildah", "podman", "crun", "mmdebstrap", "ch-run", "setpriv", "unshare", "openssl"),
    ),
    Group("many devices", ("tests/system/test_executors.py",), needs_packages("ray")),
    Group("render farm", ("tests/integration/farm",), needs()),
    Group("browser", ("tests/integration/web",), needs("chromium")),
    Group("Nuke panel", ("tests/nuke/test_end_to_end.py",), needs()),
    Group("Nuke install", ("tests/nuke/test_install.py",), needs()),
)


def main() -> int:
    """Run all groups; returns the exit code."""
    failed = []
    for group in GROUPS:
        start = time.monotonic()
        reason = group.missing()
        if reason is not None:
            print(f"{group.name}: SKIPPED because {reason}", flush=True)
            if group.name not in MAY_BE_SKIPPED:
                failed.append(group.name)
            continue
        print(f"{group.name}:", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "integration", *group.paths], check=False
        )
        print(f"{group.name}: {time.monotonic() - start:.0f} s", flush=True)
        if done.returncode != 0:
            failed.append(group.name)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
