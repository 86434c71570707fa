"""Peak memory: of a long shot against a short one, with many objects, and of delivery at 4K.

Every figure is the peak of a process of its own.
"""

from __future__ import annotations

from tests.benchmarks.measure import Part, Size, Table, in_fresh_process, main


def peak(*words: object) -> float:
    """Peak of one piece of work, MiB."""
    answer = in_fresh_process("tests.benchmarks.peak", [str(word) for word in words])
    return float(answer["peak_mib"])


def run(size: Size) -> Part:
    """All pieces, one after the other."""
    short, long = {"quick": (20, 60), "usual": (100, 600), "full": (100, 2000)}[size]
    many = 50
    width, height = (1920, 1080) if size == "quick" else (4096, 2160)
    import_only = peak("shot", 1)
    values = {
        "one frame": import_only,
        f"{short} frames": peak("shot", short),
        f"{long} frames": peak("shot", long),
        "10 objects": peak("objects", 10),
        f"{many} objects": peak("objects", many),
        f"delivery {width} x {height}": peak("deliver", width, height, 50),
    }
    growth = values[f"{long} frames"] / values[f"{short} frames"]
    wide = values[f"{many} objects"] - values["10 objects"]
    delivery = values[f"delivery {width} x {height}"]
    per_object = 576 * 1024 * 2 / 2**20
    table = Table(
        "Peak memory of the process",
        ("work", "MiB"),
        tuple((name, f"{value:.0f}") for name, value in values.items()),
        (
            "Shots: the fake models at 160 x 90, delivered and with pictures; one frame shows what "
            "program and packages need. Objects: the oracle at 1024 x 576, sixteen per batch. "
            "Delivery: one frame with fifty soft objects.",
        ),
    )
    summary = (
        f"{long} frames need {growth:.2f} times the memory of {short} frames (goal: at most 1.1"
        + (")." if long == 2000 else f" for 2000 against 100; here {long})."),
        f"Fifty objects need {wide:.0f} MiB more than ten, {wide / 40:.1f} MiB per object at "
        f"working size (one plane of probabilities is {per_object:.1f} MiB): what grows is a "
        "frame's masks and prompts, not the model's batch of sixteen.",
        f"A frame of {width} x {height} with fifty objects is delivered within {delivery:.0f} MiB "
        "(goal: 4096).",
    )
    return Part("Memory", summary, (table,), values=values)


if __name__ == "__main__":
    main(run, __doc__)
