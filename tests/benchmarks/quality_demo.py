"""How good the mattes of the demo models are, and what other rules would change.

The same shots and scores as ``quality``, but errors are a network's. The demo models know drawn
plates only: the figures compare methods, they say nothing about real plates.
"""

from __future__ import annotations

from server.detect import DetectSettings
from tests.benchmarks.measure import Part, Size, Table, main
from tests.benchmarks.methods import Method
from tests.benchmarks.quality import (
    OURS,
    VARIANTS,
    as_values,
    bars,
    by_kind,
    gains,
    measure,
    shots_for,
    verdict,
)
from tests.benchmarks.scores import COLUMNS, mean

_CHOSEN = (
    "no backward pass",
    "background never wins back (paper)",
    "background remembers nothing",
    "background wins from any window",
)
_SEPARATE = Method("separate captions", detect=DetectSettings(joint_caption=False))


def run(size: Size) -> Part:
    """The default and the variants that could matter."""
    methods = [v for v in VARIANTS if size == "full" or v is OURS or v.name in _CHOSEN]
    methods.append(_SEPARATE)
    drawn = shots_for("demo", size)
    found = measure(methods, "demo", drawn)
    _, _, picture, frames = drawn[0]
    tables = (
        Table(
            f"Demo models: {len(drawn)} shots of {frames} frames, {picture[1]} x {picture[0]}",
            ("method", *COLUMNS),
            tuple((name, *mean(rows).as_row()) for name, rows in found.items()),
            (
                "J + IDF1 against the default, ± two standard errors: "
                + "; ".join(f"{name} {gain}" for name, gain in gains(found).items()),
            ),
        ),
        by_kind("Demo models, ours by kind of shot", drawn, found["ours"]),
    )
    ours = mean(found["ours"])
    summary = (
        f"Demo models: J {ours.j:.3f}, F {ours.f:.3f}, IDF1 {ours.idf1:.3f}, HOTA {ours.hota:.3f}; "
        f"{100 * ours.touch_up:.0f} % of objects in frames would be touched up.",
        *verdict(found),
        f"Union bias: our layers have {ours.area:.3f} of the truth's area.",
    )
    values = {"demo": as_values(found)}
    return Part("Matte quality: demo models", summary, tables, (bars("demo", found),), values)


if __name__ == "__main__":
    main(run, __doc__)
