"""``segmatte nuke install | uninstall``: put the plug-in where Nuke finds it.

An installation is one folder that needs nothing else: ``menu.py``, the plug-in, the part of the
format package that Nuke's Python reads, and a virtual environment for the bridge. The only trace
outside of it is one line in ``init.py`` of the Nuke folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

HELP = "Install the plug-in into Nuke, remove it, or pack it for a facility's NUKE_PATH."

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "segmatte"
BRIDGE = "bridge"
MENU = "for_nuke_path/menu.py"
"""The ``menu.py`` at the top of a checkout, as a file that wheels carry."""
SETTINGS = "segmatte_settings.json"
MARK = "# added by: segmatte nuke install"
LINE = f'nuke.pluginAddPath("./{FOLDER}")  {MARK}'
FORMAT_MODULES = (
    "__init__", "errors", "filter", "header", "idmanifest", "ids", "manifest", "sequence",
)  # fmt: skip
"""The modules of ``objectid`` that need the standard library only."""


class InstallError(Exception):
    """The installation cannot be made as asked."""

    exit_code = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument(
        "--nuke-dir",
        type=Path,
        default=Path.home() / ".nuke",
        metavar="DIR",
        help="the Nuke folder (default: ~/.nuke)",
    )
    parser.add_argument(
        "--zip", type=Path, metavar="FILE", help="pack the plug-in instead, to unpack on NUKE_PATH"
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="take the bridge's packages from here, offline"
    )
    parser.add_argument(
        "--no-bridge",
        action="store_true",
        help="make no environment for the bridge; SEGMATTE_BRIDGE_PYTHON names its Python",
    )


def run(arguments: argparse.Namespace) -> int:
    """Install or uninstall.

    Returns:
        The exit code.

    Raises:
        InstallError: it cannot be done as asked.
    """
    if arguments.action == "uninstall":
        return uninstall(arguments.nuke_dir)
    if arguments.zip:
        pack(arguments.zip)
        print(f"Packed {arguments.zip}. Unpack it and put the folder {FOLDER} on NUKE_PATH.")
        return 0
    target = install(arguments.nuke_dir)
    print(f"Installed the plug-in in {target}.")
    if arguments.no_bridge:
        print("Set SEGMATTE_BRIDGE_PYTHON to a Python that has segmatte.")
        return 0
    make_bridge(target / BRIDGE, wheels=arguments.wheels)
    print(f"Installed the bridge in {target / BRIDGE}. Start Nuke: Segmatte is in the menus.")
    return 0


def plugin_files() -> dict[str, Path]:
    """Every file of an installation: place in its folder → source."""
    plugin = ROOT / "nuke_plugin"
    files = {"menu.py": plugin / MENU}
    for path in sorted(plugin.rglob("*")):
        inside = path.relative_to(plugin)
        is_ours = path.suffix in (".py", ".gizmo", ".nk") and inside.as_posix() != MENU
        if path.is_file() and is_ours:
            files[path.relative_to(ROOT).as_posix()] = path
    for name in FORMAT_MODULES:
        files[f"objectid/{name}.py"] = ROOT / "objectid" / f"{name}.py"
    for source in files.values():
        if not source.is_file():
            raise InstallError(
                f"{source} is missing, so this copy of segmatte cannot install the plug-in. "
                "Use a checkout or a complete wheel."
            )
    return files


def install(nuke_folder: Path) -> Path:
    """Write the plug-in and the line in ``init.py``; settings and bridge there are kept.

    Args:
        nuke_folder: ``~/.nuke``; made if it is missing.

    Returns:
        The folder of the installation.

    Raises:
        InstallError: files are missing or cannot be written.
    """
    target = nuke_folder / FOLDER
    fresh, old = nuke_folder / f".{FOLDER}.new", nuke_folder / f".{FOLDER}.old"
    try:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        for name, source in plugin_files().items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, fresh / name)
        if not (target / SETTINGS).exists():
            (fresh / SETTINGS).write_text("{}\n", encoding="utf-8")
        if target.exists():
            target.rename(old)
            for kept in (SETTINGS, BRIDGE):
                if (old / kept).exists():
                    (old / kept).rename(fresh / kept)
        fresh.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        _write_line(nuke_folder / "init.py", present=True)
    except OSError as error:
        raise InstallError(
            f"The plug-in cannot be written to {target}: {error.strerror}. Choose another "
            "--nuke-dir, or ask for the rights."
        ) from error
    return target


def uninstall(nuke_folder: Path) -> int:
    """Remove the folder and the line; nothing else is touched.

    Returns:
        The exit code.

    Raises:
        InstallError: files cannot be removed.
    """
    target = nuke_folder / FOLDER
    was_there = target.exists()
    try:
        _write_line(nuke_folder / "init.py", present=False)
        if was_there:
            shutil.rmtree(target)
    except OSError as error:
        raise InstallError(f"{target} cannot be removed: {error.strerror}.") from error
    print(f"Removed {target}." if was_there else f"Segmatte is not installed in {nuke_folder}.")
    return 0


def pack(path: Path) -> None:
    """The plug-in as a zip file.

    Raises:
        InstallError: files are missing or the zip cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, source in plugin_files().items():
                archive.write(source, f"{FOLDER}/{name}")
            archive.writestr(f"{FOLDER}/{SETTINGS}", "{}\n")
    except OSError as error:
        raise InstallError(f"{path} cannot be written: {error.strerror}.") from error


def make_bridge(folder: Path, *, wheels: Path | None = None) -> None:
    """A virtual environment with the client, or the one there brought up to date.

    Args:
        folder: the environment.
        wheels: a folder with ``segmatte`` and all it needs, for machines without a network.

    Raises:
        InstallError: packages cannot be installed; pip's last line is in the message.
    """
    if not (folder / "pyvenv.cfg").is_file():
        venv.create(folder, with_pip=True)
    python = next(
        path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe")
        if path.exists()
    )  # fmt: skip
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command.append("--upgrade")
    is_checkout = (ROOT / "pyproject.toml").is_file()
    if wheels is not None:
        command += ["--no-index", "--find-links", str(wheels), "segmatte"]
    else:
        command.append(str(ROOT) if is_checkout else "segmatte")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise InstallError(
            f"The bridge's packages cannot be installed: {lines[-1]} Without a network, collect "
            f"them elsewhere with '{Path(sys.executable).name} -m pip wheel -w DIR "
            f"{'CHECKOUT' if is_checkout else 'segmatte'}' and pass --wheels DIR."
        )


def _write_line(path: Path, *, present: bool) -> None:
    """Make the file have our line once, or not at all."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = [line for line in text.splitlines() if MARK not in line]
    if present:
        if not any(line.strip() == "import nuke" for line in kept):
            kept.append(f"import nuke  {MARK}")
        kept.append(LINE)
    changed = "\n".join(kept) + "\n" if kept else ""
    if changed == text:
        return
    if not changed:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(".init.py.part")
    temporary.write_text(changed, encoding="utf-8")
    temporary.replace(path)
