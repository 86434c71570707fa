"""Asks a real Nuke whether it behaves as the plug-in assumes, and writes a report.

    nuke -t PATH/nuke_plugin/selftest.py SEQUENCE [REPORT.json]       (or nuke --nc -t …)

``SEQUENCE`` is an ObjectId sequence, ``…/objectid/shot.%04d.exr``, with a frame range behind it:
``"shot.%04d.exr 1001-1010"``. Nothing is changed outside of a temporary folder. Every check stands
for one assumption that could not be verified without Nuke; the report says which hold. This
script has not been run by its authors, who have no Nuke: please send the report.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nuke

HERE = Path(__file__).resolve().parent
CHECKS: list[tuple[str, str, Callable[[Any], Any]]] = []
"""Name, the assumption as a sentence, and the function that looks."""


def check(name: str, assumption: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register a check: it returns what it saw, and raises AssertionError if it differs."""

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        CHECKS.append((name, assumption, function))
        return function

    return register


def run(sequence: str, report: Path) -> int:
    """Run all checks and write the report.

    Args:
        sequence: pattern and range, as typed into a DeepRead.
        report: where the JSON goes.

    Returns:
        The number of checks that did not hold.
    """
    sys.path.insert(0, str(HERE.parent))
    nuke.pluginAddPath(str(HERE / "gizmos"))
    read = nuke.createNode("DeepRead", inpanel=False)
    file: Any = read["file"]
    file.fromUserText(sequence)
    nuke.frame(int(read["first"].value()))
    entries = []
    for name, assumption, function in CHECKS:
        try:
            seen, holds = function(read), True
        except AssertionError as error:
            seen, holds = str(error), False
        except Exception:
            seen, holds = traceback.format_exc(), False
        entries.append({"check": name, "assumes": assumption, "holds": holds, "seen": repr(seen)})
        nuke.tprint(f"{'ok  ' if holds else 'FAIL'} {name}: {seen!r}")
    content = {
        "nuke": nuke.NUKE_VERSION_STRING,
        "python": sys.version,
        "sequence": sequence,
        "checks": entries,
    }
    report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    failed = sum(1 for entry in entries if not entry["holds"])
    nuke.tprint(f"{len(entries) - failed} of {len(entries)} assumptions hold; report: {report}")
    return failed


def _expect(condition: object, seen: Any) -> Any:
    if not condition:
        raise AssertionError(repr(seen))
    return seen


def _filled_pixel(read: Any) -> tuple[int, int]:
    box = read.bbox()
    for y in range(box.y(), box.y() + box.h(), 3):
        for x in range(box.x(), box.x() + box.w(), 3):
            if read.deepSampleCount(x, y) > 0:
                return x, y
    raise AssertionError("no pixel of the sequence's first frame has a sample")


@check("channels", "the id channel of the file is called other.id (b)")
def _channels(read: Any) -> Any:
    return _expect("other.id" in read.channels(), read.channels())


@check("metadata", "the manifest's string attribute shows in the metadata under exr/ (d)")
def _metadata(read: Any) -> Any:
    fresh: Any = nuke.toNode(read.fullName())  # a node just made may have none yet
    keys = sorted(fresh.metadata() or {})
    return _expect("exr/objectid/manifest" in keys, keys)


@check("deep_sample_names", "deepSample takes full channel names (l)")
def _sample_names(read: Any) -> Any:
    x, y = _filled_pixel(read)
    seen = {}
    for name in ("other.id", "id", "rgba.alpha", "alpha", "A", "deep.front", "front"):
        try:
            seen[name] = read.deepSample(name, x, y, 0)
        except Exception as error:
            seen[name] = repr(error)
    return _expect(isinstance(seen["other.id"], float), seen)


@check("ids_are_whole", "ids arrive exact in float32 and are named in the manifest (b)")
def _ids(read: Any) -> Any:
    from nuke_plugin import deep, names

    x, y = _filled_pixel(read)
    samples = deep.samples_at(read, x, y, channel="other.id")
    shot = names.embedded_names(Path(read["file"].evaluate(nuke.frame())))
    known = [shot.name(int(s.number)) for s in samples]
    return _expect(all(known), (samples, known))


@check("sample_order", "samples come front to back (l); we sort them ourselves")
def _order(read: Any) -> Any:
    x, y = _filled_pixel(read)
    fronts = [read.deepSample("deep.front", x, y, i) for i in range(read.deepSampleCount(x, y))]
    return _expect(fronts == sorted(fronts), fronts)


def _picker(read: Any) -> Any:
    node = nuke.createNode("ObjectIdPicker", inpanel=False)
    node.setInput(0, read)
    return node


@check("gizmo_is_a_group", "createNode of our gizmo pastes a Group that needs no plug-in (§4)")
def _group(read: Any) -> Any:
    node = _picker(read)
    seen = node.Class()
    nuke.delete(node)
    return _expect(seen == "Group", seen)


@check("temporaries", "a DeepExpression's temporary can be named in its channel expressions (§1)")
def _temporaries(read: Any) -> Any:
    return _matte(read, "**")


@check("matte_is_visible_alpha", "red through DeepToImage is the visible share of the pick (e)")
def _visible(read: Any) -> Any:
    from nuke_plugin import deep, names

    x, y = _filled_pixel(read)
    number = deep.objects_of(deep.samples_at(read, x, y, channel="other.id")).ids[0]
    shot = names.embedded_names(Path(read["file"].evaluate(nuke.frame())))
    left, wanted = 1.0, 0.0
    for sample in sorted(deep.samples_at(read, x, y, channel="other.id"), key=lambda s: s.front):
        wanted += sample.alpha * left if int(sample.number) == number else 0.0
        left *= 1 - sample.alpha
    seen = _matte(read, f'"{shot.name(number)}"', (x, y))
    return _expect(abs(seen - wanted) <= 1 / 1024, (seen, wanted))


def _matte(read: Any, text: str, place: tuple[int, int] | None = None) -> float:
    from nuke_plugin import picker

    x, y = place or _filled_pixel(read)
    node = _picker(read)
    try:
        node["matteList"].setValue(text)
        picker.recompile(node)
        seen = float(node.sample("rgba.alpha", x + 0.5, y + 0.5))
    finally:
        nuke.delete(node)
    _expect(seen > 0, seen)
    return seen


@check("disabled_deep_from_image", "a disabled DeepFromImage passes its flat input (§3)")
def _depth(read: Any) -> Any:
    node = _picker(read)
    try:
        seen: dict[str, object] = {}
        for value in (False, True):
            node["depth"].setValue(value)
            try:
                node.deepSampleCount(0, 0)
                seen[str(value)] = "deep"
            except ValueError:
                seen[str(value)] = "flat"
    finally:
        nuke.delete(node)
    return _expect(seen == {"False": "flat", "True": "deep"}, seen)


@check("frame_modes", "start at N and offset K are a constant shift of frames (§9)")
def _frame_modes(read: Any) -> Any:
    node = nuke.createNode("DeepRead", inpanel=False)
    try:
        node["file"].setValue(read["file"].value())
        for knob in ("first", "last"):
            node[knob].setValue(int(read[knob].value()))
        first = int(read["first"].value())
        seen = {}
        for mode, text in (("start at", "1"), ("offset", str(first - 1))):
            node["frame_mode"].setValue(mode)
            node["frame"].setValue(text)
            nuke.frame(1)
            seen[mode] = nuke.filename(node, nuke.REPLACE)
        nuke.frame(first)
        wanted = nuke.filename(read, nuke.REPLACE)
    finally:
        nuke.delete(node)
    return _expect(set(seen.values()) == {wanted}, (seen, wanted))


@check("version_of_class_names", "DeepToImage and Shuffle, the old classes, still load (i)")
def _classes(read: Any) -> Any:
    seen = {}
    for name in ("DeepToImage", "Shuffle", "Remove", "DeepFromImage"):
        node = nuke.createNode(name, inpanel=False)
        seen[name] = node.Class()
        nuke.delete(node)
    return seen


def _roto() -> tuple[Any, Any, Any]:
    import nuke.rotopaint as rp

    node = nuke.createNode("Roto", inpanel=False)
    shape = rp.Shape(node["curves"], type="bezier")
    for x, y in ((100, 100), (300, 100), (300, 300), (100, 300)):
        shape.append(rp.ShapeControlPoint(x, y))
    return rp, node, shape


@check("transform_order", "a layer's transform applies after its shape's (f)")
def _transforms(read: Any) -> Any:
    rp, node, shape = _roto()
    try:
        root = node["curves"].rootLayer
        layer = rp.Layer(node["curves"])
        root.append(layer)
        layer = root[0]
        layer.append(shape)
        inner = layer[0]
        inner.getTransform().getTranslationAnimCurve(0).addKey(1, 400.0)
        layer.getTransform().getRotationAnimCurve(2).addKey(1, 90.0)
        node["curves"].changed()
        # Shape first: (200, 200) + (400, 0), turned by 90 degrees, is (−200, 600): outside.
        # Layer first: (−200, 200) + (400, 0) is (200, 200): inside the first square.
        seen = float(node.sample("rgba.alpha", 200.5, 200.5))
    finally:
        nuke.delete(node)
    return _expect(seen < 0.5, seen)


@check("feather_tangents", "feather points without tangents run beside the outline (§5)")
def _feather(read: Any) -> Any:
    rp, node, shape = _roto()
    try:
        node["curves"].rootLayer.append(shape)
        made = node["curves"].rootLayer[0]
        for point in made:
            point.rightTangent.setPosition(rp.CVec2(20.0, 10.0))
            point.leftTangent.setPosition(rp.CVec2(-20.0, -10.0))
            point.featherCenter.setPosition(rp.CVec2(5.0, 5.0))
        main = [made.evaluate(0, 1).getPoint(t / 8.0) for t in range(8)]
        feather = [made.evaluate(1, 1).getPoint(t / 8.0) for t in range(8)]
        seen = [(b.x - a.x, b.y - a.y) for a, b in zip(main, feather)]
    finally:
        nuke.delete(node)
    return _expect(all(abs(x - 5) < 0.01 and abs(y - 5) < 0.01 for x, y in seen), seen)


@check("lifetime_types", "lifetime is all, start to frame, single, frame to end, range (§5)")
def _lifetimes(read: Any) -> Any:
    node = nuke.createNode("Roto", inpanel=False)
    try:
        knob: Any = node["lifetime_type"]
        seen = list(knob.values())
    finally:
        nuke.delete(node)
    wanted = ("all", "start", "single", "end", "range")
    return _expect(all(word in str(seen[i]).lower() for i, word in enumerate(wanted)), seen)


@check("roto_attributes", "motion blur and falloff of a shape can be read (§5)")
def _attributes(read: Any) -> Any:
    _rp, node, shape = _roto()
    try:
        node["curves"].rootLayer.append(shape)
        attributes = node["curves"].rootLayer[0].getAttributes()
        names = (attributes.kMotionBlurOnAttribute, "fo", "ff", "ft")
        seen = {name: float(attributes.getValue(1, name, "main")) for name in names}
    finally:
        nuke.delete(node)
    return _expect(list(seen.values()) == [0.0, 1.0, 1.0, 0.0], seen)


@check("proxy_positions", "proxy does not move the samples of a full-size DeepRead (k)")
def _proxy(read: Any) -> Any:
    x, y = _filled_pixel(read)
    proxy: Any = nuke.root()["proxy"]
    before = proxy.value()
    try:
        proxy.setValue(True)
        seen = read.deepSampleCount(x, y)
    finally:
        proxy.setValue(before)
    return _expect(seen > 0, seen)


@check("viewer_looks", "with an OCIO config the viewer's looks are called VIEW (DISPLAY)")
def _looks(read: Any) -> Any:
    from nuke_plugin import plate

    management: Any = nuke.root()["colorManagement"]
    before = management.value()
    viewer = nuke.createNode("Viewer", inpanel=False)
    try:
        management.setValue("OCIO")
        knob: Any = viewer["viewerProcess"]
        seen = [str(value) for value in knob.values()]
    finally:
        management.setValue(before)
        nuke.delete(viewer)
    named = [look for look in seen if all(plate.display_and_view(look))]
    return _expect(named, seen)


@check("write_srgb", "a PNG Write has a datatype and an sRGB colour space (§9)")
def _write(read: Any) -> Any:
    from nuke_plugin import plate

    source = nuke.createNode("CheckerBoard2", inpanel=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = plate.render(source, [1], Path(folder))
            return _expect(files[0][1].is_file(), files)
    finally:
        nuke.delete(source)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line of Nuke."""
    if not arguments:
        nuke.tprint(__doc__)
        return 2
    report = Path(arguments[1] if len(arguments) > 1 else "segmatte_nuke_selftest.json")
    return run(arguments[0], report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
