"""``nuke.rotopaint`` with state.

Measured in a real Nuke 17.1v1 and followed here: ``getPosition`` and ``evaluate`` know no
transforms; tangents and feather centres are offsets from the centre, feather tangents from the
feather centre; an attribute's third argument is a view's name; matrices are 16 floats, row by
row, translation at 3 and 7; positions are float32; a point without keys reports none; layers have
no blend mode and no inversion; ``serialise`` names the kind of curve.
"""

from __future__ import annotations

import math
import types

import numpy as np

DEFAULTS = {
    "vis": 1.0, "opc": 1.0, "bm": 0.0, "inv": 0.0, "fo": 1.0, "fx": 0.0, "fy": 0.0, "ff": 1.0,
    "ft": 0.0, "ltt": 0.0, "ltn": 1.0, "ltm": 1.0, "mbo": 0.0,
}  # fmt: skip
LAYER_DEFAULTS = {"vis": 1.0, "opc": 1.0, "fo": 1.0, "fx": 0.0, "fy": 0.0}


class FlagType:
    eOpenFlag = "open"  # noqa: N815


class CVec3:
    def __init__(self, x=0.0, y=0.0, z=0.0):
        self.x, self.y, self.z = float(np.float32(x)), float(np.float32(y)), z


class Curve:
    def __init__(self, constant=0.0):
        self.constant, self.keyed = constant, {}

    def addKey(self, time, value):  # noqa: N802
        self.keyed[float(time)] = float(value)

    def getNumberOfKeys(self):  # noqa: N802
        return len(self.keyed)

    def getKey(self, index):  # noqa: N802
        time = sorted(self.keyed)[index]
        return types.SimpleNamespace(time=time, value=self.keyed[time])

    def evaluate(self, time):
        if not self.keyed:
            return self.constant
        times = sorted(self.keyed)
        return float(np.interp(time, times, [self.keyed[t] for t in times]))


class AnimControlPoint:
    def __init__(self, x=0.0, y=0.0):
        self.curves = [Curve(float(x)), Curve(float(y))]

    def getPosition(self, time, view="main"):  # noqa: N802
        return CVec3(self.curves[0].evaluate(time), self.curves[1].evaluate(time))

    def addPositionKey(self, time, position):  # noqa: N802
        for curve, value in zip(self.curves, position, strict=False):
            curve.addKey(time, value)

    def setPosition(self, position):  # noqa: N802
        for curve, value in zip(self.curves, position, strict=False):
            curve.constant = value

    def getControlPointKeyTimes(self, view="main"):  # noqa: N802
        return sorted({t for curve in self.curves for t in curve.keyed})


class ShapeControlPoint:
    def __init__(self, x=0.0, y=0.0):
        self.center = AnimControlPoint(x, y)
        for name in ("leftTangent", "rightTangent", "featherCenter", "featherLeftTangent",
                     "featherRightTangent"):  # fmt: skip
            setattr(self, name, AnimControlPoint())


class AnimAttributes:
    kMotionBlurOnAttribute = "mbo"  # noqa: N815, a constant of the package

    def __init__(self, defaults):
        self.curves = {name: Curve(value) for name, value in defaults.items()}

    def getValue(self, time, name, view):  # noqa: N802
        if not isinstance(view, str):
            raise TypeError("argument 3 must be str")
        return self.curves[name].evaluate(time) if name in self.curves else 0.0

    def getCurve(self, name, view):  # noqa: N802
        return self.curves[name]

    def set(self, time, name, value):
        self.curves[name].constant = value


class AnimCTransform:
    """Translate · pivot · rotate · scale, and an extra matrix for projective cases."""

    def __init__(self):
        self.translate, self.rotate, self.scale = Curve(), Curve(), Curve(1.0)
        self.pivot = (0.0, 0.0)
        self.extra = np.eye(3)

    def evaluate(self, time):
        angle, scale = math.radians(self.rotate.evaluate(time)), self.scale.evaluate(time)
        c, s = math.cos(angle) * scale, math.sin(angle) * scale
        px, py = self.pivot
        tx = self.translate.evaluate(time)
        plane = np.array(
            [[c, -s, px - c * px + s * py + tx], [s, c, py - s * px - c * py], [0, 0, 1]]
        )
        plane = plane @ self.extra
        full = np.eye(4)
        full[np.ix_((0, 1, 3), (0, 1, 3))] = plane
        return types.SimpleNamespace(getMatrix=lambda: list(full.ravel()))


class Element:
    def __init__(self, name, defaults):
        self.name = name
        self._attributes = AnimAttributes(defaults)
        self._transform = AnimCTransform()
        self._flags = {}

    def getAttributes(self):  # noqa: N802
        return self._attributes

    def getTransform(self):  # noqa: N802
        return self._transform

    def getVisible(self, time):  # noqa: N802
        return self._attributes.curves["vis"].evaluate(time) > 0.5

    def getFlag(self, flag):  # noqa: N802
        return self._flags.get(flag, False)

    def setFlag(self, flag, value):  # noqa: N802
        self._flags[flag] = value


class Layer(Element):
    def __init__(self, name="Layer1"):
        super().__init__(name, LAYER_DEFAULTS)
        self.children = []

    def append(self, element):
        self.children.append(element)

    def __iter__(self):
        return iter(self.children)

    def __len__(self):
        return len(self.children)

    def __getitem__(self, index):
        return self.children[index]


class Shape(Element):
    def __init__(self, name="Bezier1", kind="bezier"):
        super().__init__(name, DEFAULTS)
        self.kind = kind
        self.points = []

    def append(self, point):
        self.points.append(point)

    def __iter__(self):
        return iter(self.points)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index]

    def serialise(self):
        quoted = f'"{self.name}"' if " " in self.name else self.name
        return "{curvegroup " + f"{quoted} 512 {self.kind}\n {{{{cc\n"


class Stroke(Element):
    def __init__(self, name="Brush1"):
        super().__init__(name, DEFAULTS)


class RotoKnob:
    def __init__(self):
        self.rootLayer = Layer("Root")


def polygon_shape(name, points, *, kind="bezier", right=None, keys=()):
    """A shape through points; ``right`` are right tangents, the left ones mirrored."""
    shape = Shape(name, kind)
    for index, (x, y) in enumerate(points):
        point = ShapeControlPoint(x, y)
        if right is not None:
            point.rightTangent.setPosition(right[index])
            point.leftTangent.setPosition((-right[index][0], -right[index][1]))
        for key in keys:
            point.center.addPositionKey(key, (x, y))
        shape.append(point)
    return shape
