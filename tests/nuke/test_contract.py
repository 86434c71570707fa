"""What we ship against what is known of Nuke: classes, knobs, syntax, versions, imports."""

import ast
import os
import re
import shutil
import subprocess
import sys

import nkparser
import pytest

from tests.nuke import nk
from tests.nuke.conftest import PLUGIN
from tests.nuke.fake_nuke import (
    BY_USER_TYPE,
    COMMON_KNOBS,
    EXTRA_CLASSES,
    FORMAT_KNOBS,
    KNOB_TABLE,
)

ROOT = PLUGIN.parent
SCRIPTS = sorted([*PLUGIN.rglob("*.gizmo"), *PLUGIN.rglob("*.nk")])
MODULES = sorted([*PLUGIN.rglob("*.py"), ROOT / "menu.py"])
INSIDE_NUKE = ["errors", "filter", "header", "idmanifest", "ids", "manifest", "sequence"]
"""Modules of objectid that Nuke's Python loads."""


def known_knobs(class_name):
    for table in (KNOB_TABLE["classes"], KNOB_TABLE["legacy_classes"], EXTRA_CLASSES):
        if class_name in table:
            return {*COMMON_KNOBS, *table[class_name]}
    return None


def every_node(nodes):
    for node in nodes:
        yield node
        yield from every_node(node.children)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_every_class_and_knob_of_a_script_exists_in_nuke(path):
    for node in every_node(nk.load(path).nodes):
        knobs = known_knobs(node.class_name)
        assert knobs is not None, f"{node.class_name} is in no table of node classes"
        own = {knob.name for knob in node.user_knobs} | {"number"}
        unknown = set(node.knobs) - knobs - own
        assert not unknown, f"{node.class_name} {node.name} has no knob {sorted(unknown)}"


def strings_after(tree, *functions):
    """First arguments of calls to functions or methods of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in functions and isinstance(node.args[0].value, str):
                yield node.args[0].value


def test_every_class_and_knob_that_code_names_exists_in_nuke():
    own = {knob.name for path in SCRIPTS for n in nk.load(path).nodes for knob in n.user_knobs}
    tables = (KNOB_TABLE["classes"], KNOB_TABLE["legacy_classes"], EXTRA_CLASSES)
    knobs = own | set(COMMON_KNOBS) | {k for table in tables for c in table.values() for k in c}
    knobs |= {knob for names in FORMAT_KNOBS.values() for knob in names}
    ours = {path.stem for path in SCRIPTS}
    for path in PLUGIN.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for name in strings_after(tree, "createNode", "create"):
            assert name in ours or known_knobs(name) is not None, f"{path.name}: {name}"
        for node in ast.walk(tree):
            # Knobs are what is subscripted with a text and then asked for its value.
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Subscript):
                key = node.value.slice
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    if node.attr in ("value", "setValue", "evaluate", "execute", "getValueAt"):
                        assert key.value in knobs, f"{path.name}: no knob {key.value}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_every_link_of_a_script_leads_somewhere(path):
    for group in every_node(nk.load(path).nodes):
        own = {knob.name for knob in group.user_knobs}
        inner = {node.name: node for node in group.children}
        for knob in group.user_knobs:
            assert knob.type_number in BY_USER_TYPE
            if knob.type_number == 41:
                node, _, name = knob.options["T"].partition(".")
                assert name in known_knobs(inner[node].class_name)
        for node in group.children:
            for word in node.knobs.values():
                for name in re.findall(r"parent\.(?!input\d)(\w+)", word.text):
                    assert name in own, f"{node.name} refers to parent.{name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_every_visible_knob_has_a_tooltip(path):
    for group in every_node(nk.load(path).nodes):
        for knob in group.user_knobs:
            is_control = knob.type_number not in (20, 26) and "+INVISIBLE" not in knob.flags
            if is_control:
                assert len(knob.options.get("t", "")) > 15, f"{knob.name} has no tooltip"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_every_script_parses_and_is_for_the_oldest_nuke(path):
    text = path.read_text()
    major, minor = nk.parse(text).version.split()[0].split(".")
    assert (int(major), int(minor)) <= (14, 0)
    # nkparser 0.3 wants end_group inside the braces of a Group, which no Nuke writes.
    flat = re.sub(r"^end_group$", "", text, flags=re.M).replace("\nGroup {", "\nNoOp {")
    errors = [
        d for d in nkparser.Script.from_string(flat).diagnostics if "error" in d.severity.value
    ]
    assert not errors


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_python_inside_a_script_is_python_and_survives_a_missing_plugin(path, nuke):
    for group in every_node(nk.load(path).nodes):
        code = [k.options["T"] for k in group.user_knobs if k.type_number == 22]
        code += [group.knobs[k].text for k in ("knobChanged", "onCreate") if k in group.knobs]
        for text in code:
            ast.parse(text, feature_version=(3, 9))
            assert "except ImportError" in text


def test_the_precomp_holds_the_picker_as_shipped():
    shipped = nk.load(PLUGIN / "gizmos" / "ObjectIdPicker.gizmo").nodes[0]
    precomp = nk.load(PLUGIN / "ToolSets" / "Segmatte" / "Segmatte precomp.nk")
    copy = next(node for node in precomp.nodes if node.class_name == "Group")
    assert copy.user_knobs == shipped.user_knobs
    assert [(n.name, n.knobs) for n in copy.children] == [
        (n.name, n.knobs) for n in shipped.children
    ]
    assert copy.inputs[0].class_name == "DeepRead"


@pytest.mark.parametrize(
    "bad", ["Group {\n name a", 'A {\n b "c\n}', "}", "end_group", 'A {\n b "[x]"\n}']
)
def test_the_bracket_check_finds_broken_scripts(bad):
    with pytest.raises(nk.NkError):
        nk.parse(bad)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_inside_nuke_is_python_3_9(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert future, "from __future__ import annotations is missing"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            words = {k.arg for k in node.keywords}
            name = getattr(node.func, "id", "")
            assert not (name == "dataclass" and words & {"slots", "kw_only"})
            assert not (name == "zip" and "strict" in words)


def test_code_inside_nuke_imports_the_standard_library_nuke_and_qt_only():
    allowed = {"nuke", "nukescripts", "PySide2", "PySide6", "nuke_plugin", "objectid", "shiboken2"}
    paths = [*MODULES, *(ROOT / "objectid" / f"{name}.py" for name in INSIDE_NUKE)]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            else:
                continue
            for module in modules:
                head = module.split(".")[0]
                assert head in allowed or head in sys.stdlib_module_names, f"{path}: {module}"


FRESH = """
import sys, types
nuke = types.ModuleType("nuke")
nuke.__getattr__ = lambda name: (lambda *a, **k: None)
nuke.NUKE_VERSION_MAJOR = 16
sys.modules["nuke"] = nuke
nuke.rotopaint = sys.modules["nuke.rotopaint"] = types.ModuleType("nuke.rotopaint")
sys.path.insert(0, {root!r})
import importlib
for module in {modules!r}:
    importlib.import_module(module)
loaded = [m for m in ("grpc", "google", "numpy", "torch", "cv2", "PySide6") if m in sys.modules]
print(loaded)
"""


def plugin_modules():
    names = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for p in PLUGIN.rglob("*.py")
        if p.stem not in ("selftest", "menu")
    ]
    return sorted(name.replace(".__init__", "") for name in names)


@pytest.mark.parametrize("python", ["this", "3.9"])
def test_a_fresh_interpreter_loads_nothing_heavy(python):
    executable = sys.executable
    if python == "3.9":
        executable = os.environ.get("SEGMATTE_PYTHON39") or shutil.which("python3.9") or ""
        if not executable or subprocess.run([executable, "-V"], capture_output=True).returncode:
            pytest.skip("no Python 3.9 here; SEGMATTE_PYTHON39 may name one")
    modules = [
        name
        for name in plugin_modules()
        if python == "this" or not {"nuke_plugin.qt", "PySide6"} & _imports(name)
    ]
    code = FRESH.format(root=str(ROOT), modules=modules)
    done = subprocess.run(
        [executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heavy = set(ast.literal_eval(done.stdout)) - {"PySide6"}
    assert not heavy


def _imports(name):
    path = ROOT / (name.replace(".", "/") + ".py")
    if not path.is_file():
        return set()
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found
