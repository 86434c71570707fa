"""Installing the plug-in as a user does, and starting it as Nuke does."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from client.__main__ import main
from client.commands import nuke as command

START = """
import os, sys, types
commands, loaded = {}, []
nuke = types.ModuleType("nuke")
class Menu:
    def addMenu(self, *a, **k): return self
    def addCommand(self, title, command, **k): commands[title] = command
nuke.menu = lambda name: Menu()
nuke.GUI = True
nuke.loadToolset = lambda path: loaded.append(os.path.isfile(path))
nuke.NUKE_VERSION_MAJOR = 16
paths = []
nuke.pluginAddPath = lambda path, addToSysPath=True: paths.append(path)
nuke.addOnScriptLoad = nuke.addOnScriptSave = lambda f: None
panels = types.ModuleType("nukescripts.panels")
panels.registerWidgetAsPanel = lambda *a, **k: None
scripts = types.ModuleType("nukescripts")
scripts.panels = panels
sys.modules.update({"nuke": nuke, "nukescripts": scripts, "nukescripts.panels": panels})
folder = sys.argv[1]
sys.path.insert(0, folder)
exec(open(folder + "/menu.py").read(), {})
print("gizmos" if any(p.endswith("gizmos") for p in paths) else "absent")
if commands:
    exec(commands["Segmatte Precomp"], {"nuke": nuke})
    assert loaded == [True]
print([m for m in ("grpc", "google", "numpy", "torch") if m in sys.modules])
"""


def install(folder, *options):
    return main(["nuke", "install", "--nuke-dir", str(folder), "--no-bridge", *options])


def start(folder):
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", START, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )


def test_checkout_and_wheel_have_one_menu():
    shipped = command.ROOT / "nuke_plugin" / command.MENU
    assert shipped.read_text() == (command.ROOT / "menu.py").read_text()


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_installed_folder_starts_by_itself(tmp_path):
    assert install(tmp_path) == 0
    done = start(tmp_path / "segmatte")
    assert done.stdout.splitlines() == ["gizmos", "[]"]
    assert not done.stderr


def test_installing_twice_changes_nothing_and_keeps_settings(tmp_path):
    (tmp_path / "init.py").write_text("import nuke\nprint('mine')\n")
    install(tmp_path)
    settings = tmp_path / "segmatte" / "segmatte_settings.json"
    settings.write_text('{"server": "farm:7766"}')
    (tmp_path / "segmatte" / "bridge").mkdir()
    (tmp_path / "segmatte" / "bridge" / "kept").touch()
    before = contents(tmp_path)
    install(tmp_path)
    assert contents(tmp_path) == before
    text = (tmp_path / "init.py").read_text()
    assert text.splitlines() == ["import nuke", "print('mine')", command.LINE]


def test_uninstall_leaves_what_is_not_ours(tmp_path):
    (tmp_path / "init.py").write_text("import nuke\nprint('mine')\n")
    install(tmp_path)
    assert main(["nuke", "uninstall", "--nuke-dir", str(tmp_path)]) == 0
    assert contents(tmp_path) == {
        (tmp_path / "init.py").relative_to(tmp_path): b"import nuke\nprint('mine')\n"
    }
    assert main(["nuke", "uninstall", "--nuke-dir", str(tmp_path)]) == 0


def test_without_an_init_file_one_is_made_and_removed_again(tmp_path):
    folder = tmp_path / "new" / ".nuke"
    install(folder)
    assert command.LINE in (folder / "init.py").read_text()
    main(["nuke", "uninstall", "--nuke-dir", str(folder)])
    assert not (folder / "init.py").exists()


def test_the_zip_unpacks_to_a_working_folder(tmp_path):
    assert install(tmp_path / "x", "--zip", str(tmp_path / "segmatte.zip")) == 0
    assert not (tmp_path / "x").exists()
    with zipfile.ZipFile(tmp_path / "segmatte.zip") as archive:
        archive.extractall(tmp_path / "plugins")
    assert start(tmp_path / "plugins" / "segmatte").stdout.startswith("gizmos")


def test_the_checkout_works_without_installing():
    assert start(command.ROOT).stdout.startswith("gizmos")


@pytest.mark.parametrize("gone", ["nuke_plugin", "nuke_plugin/startup.py"])
def test_a_broken_install_says_why_and_lets_nuke_start(tmp_path, gone):
    install(tmp_path)
    (tmp_path / "segmatte" / gone).rename(tmp_path / "gone")
    done = start(tmp_path / "segmatte")
    assert "Segmatte is absent" in done.stdout
    assert "ModuleNotFoundError" in done.stderr


def test_a_folder_that_cannot_be_written_is_an_error_with_advice(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert install(tmp_path / "file") == 2
    assert "--nuke-dir" in capsys.readouterr().err


def test_missing_wheels_say_how_to_collect_them(tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    bridge = tmp_path / "bridge"
    bridge.mkdir()
    (bridge / "pyvenv.cfg").touch()
    (bridge / "bin").mkdir()
    (bridge / "bin" / "python").symlink_to(sys.executable)
    with pytest.raises(command.InstallError, match=r"pip wheel -w DIR CHECKOUT.* --wheels DIR"):
        command.make_bridge(bridge, wheels=tmp_path / "wheels")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The project and all its client needs as wheels, made as the error message says."""
    source = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=command.ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (command.ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(command.ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "-w", str(folder), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_a_wheel_installs_itself_into_nuke_without_a_network(wheels, tmp_path, monkeypatch):
    # Nothing answers there: whatever is not among the wheels cannot come from elsewhere.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    command.make_bridge(tmp_path / "site", wheels=wheels)
    program = tmp_path / "site" / "bin" / "segmatte"
    home = tmp_path / "home" / ".nuke"
    elsewhere = {**os.environ, "PYTHONPATH": "", "HOME": str(tmp_path / "home")}

    def nuke_command(*options):
        done = subprocess.run(
            [program, "nuke", "install", "--nuke-dir", home, *options],
            env=elsewhere, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    nuke_command("--wheels", wheels)
    nuke_command("--wheels", wheels)  # once more: brings up to date, breaks nothing

    folder = home / "segmatte"
    installed = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {Path(name) for name in command.plugin_files()} <= installed
    assert Path("nuke_plugin/ToolSets/Segmatte/Segmatte precomp.nk") in installed
    assert start(folder).stdout.splitlines() == ["gizmos", "[]"]
    # The bridge Nuke would start: it introduces itself and ends with its caller.
    done = subprocess.run(
        [folder / "bridge" / "bin" / "python", "-m", "client.bridge"],
        env=elsewhere, cwd=tmp_path, input="", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"protocol"' in done.stdout.splitlines()[0]
