"""What Nuke's own Python gets to see of this package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import objectid

PACKAGE = Path(objectid.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
PLAIN = ("errors", "ids", "filter", "header", "idmanifest", "manifest", "sequence")
"""Modules that need the standard library only."""


def fresh(code: str) -> str:
    """What a fresh interpreter says in which numpy and all packages are out of reach."""
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n{code}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_ids_filter_and_manifest_need_the_standard_library_only(tmp_path):
    said = fresh(
        f"""
import objectid
ids = objectid.object_ids(["/a/a_01", "/b"])
objectid.write_sidecar({str(tmp_path / "x.manifest.json")!r}, objectid.Sidecar("x",
    tuple(objectid.ObjectRecord(name, number) for name, number in ids.items())))
table = objectid.read_manifest({str(tmp_path / "x.manifest.json")!r}).ids
print(objectid.compile_filter("a").match(table))
import {", ".join(f"objectid.{name}" for name in PLAIN)}
print([name for name in ("numpy", "OpenEXR", "torch", "grpc", "nuke") if name in sys.modules])
"""
    )

    assert said.splitlines() == ["['/a/a_01']", "[]"]


def test_the_manifest_of_an_exr_file_is_read_without_numpy(tmp_path):
    from tests.unit.objectid.drawn import write_shot

    ids = write_shot(tmp_path, frames=range(1001, 1002))
    path = tmp_path / "objectid" / "shot.1001.exr"

    assert fresh(f"import objectid\nprint(dict(objectid.read_manifest({str(path)!r}).ids))") == str(
        dict(sorted(ids.items()))
    )


@pytest.mark.parametrize("command", ["pick", "inspect", "objects", "convert"])
def test_commands_describe_themselves_without_numpy(command):
    said = fresh(
        f"""
import argparse, objectid.commands.{command} as command
command.add_arguments(argparse.ArgumentParser())
print(command.HELP)
"""
    )

    assert said


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_syntax_is_that_of_python_39(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))

    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
    body = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert path.name == "__init__.py" or body[0].module == "__future__"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_module_imports_our_other_packages_or_heavy_ones_at_the_top(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])

    banned = {"server", "client", "nuke_plugin", "torch", "grpc", "nuke", "OpenEXR", "OpenImageIO"}
    assert not imported & banned
    if path.stem in PLAIN or path.parent.name == "commands":
        assert "numpy" not in imported


def test_every_public_name_is_there():
    for name in objectid.__all__:
        assert getattr(objectid, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        objectid.nothing  # noqa: B018
