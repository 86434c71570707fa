"""The report: Markdown and plots from the parts' JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

Written by `make bench`; each part alone: `python -m tests.benchmarks.NAME [--json] [--size SIZE]`.
Every part states where, when and with which commit it was measured. CPU times are what compares:
the machine may have been shared, which the load average tells (1 per busy core). Demo models and
oracle say how *methods* compare; they say nothing about real plates.
"""


def as_markdown(part: Mapping[str, Any]) -> str:
    """One part as a chapter; parts of another form than ``measure.Part`` are listed plainly."""
    if "tables" not in part:
        lines = [f"## {part.get('title', part.get('part', 'Other'))}", ""]
        return "\n".join([*lines, *_plainly(part), ""])
    lines = [f"## {part['title']}", ""]
    lines += [f"* {sentence}" for sentence in part["summary"]]
    lines.append("")
    for table in part["tables"]:
        lines += [f"### {table['title']}", "", *_grid(table["columns"], table["rows"]), ""]
        lines += [f"{note}\n" for note in table["notes"]]
    for plot in part["plots"]:
        lines += [f"![{plot['title']}]({plot['name']}.png)", ""]
    if "machine" in part:
        lines += [_where(part), ""]
    return "\n".join(lines)


def _grid(columns: Any, rows: Any) -> list[str]:
    def line(cells: Any) -> str:
        return "| " + " | ".join(str(cell) for cell in cells) + " |"

    return [line(columns), line("---" for _ in columns), *(line(row) for row in rows)]


def _where(part: Mapping[str, Any]) -> str:
    machine = part["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"*{machine['date']}, commit {machine['commit']}, size `{part['size']}`, took "
        f"{part['took']['wall']} s wall, {part['took']['cpu']} s CPU in the first process. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, GPU: "
        f"{machine['gpu']}, load average {', '.join(map(str, machine['load_average']))}. Python "
        f"{machine['python']}, {packages}.*"
    )


def _plainly(values: Mapping[str, Any], depth: int = 0) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines.append(f"{'  ' * depth}* {key}")
            lines += _plainly(value, depth + 1)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines.append(f"{'  ' * depth}* {key}")
            for row in value:
                inner = ", ".join(f"{k} {_short(v)}" for k, v in row.items())
                lines.append(f"{'  ' * (depth + 1)}* {inner}")
        else:
            lines.append(f"{'  ' * depth}* {key}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(plot: Mapping[str, Any], folder: Path) -> None:
    """One plot as PNG: bars side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    labels, series = [str(label) for label in plot["labels"]], plot["series"]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(labels) * max(1, len(series) / 2) + 1.2))
    height = 0.8 / len(series)
    for position, (name, values) in enumerate(series.items()):
        places = [row + position * height for row in range(len(labels))]
        axes.barh(places, values, height, label=name)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(labels))], labels)
    axes.invert_yaxis()
    axes.set_xlabel(plot["axis"])
    axes.set_title(plot["title"], fontsize=10)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / f"{plot['name']}.png", dpi=90)
    plt.close(figure)


def write(parts: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """README.md and plots of all parts."""
    chapters = []
    for part in parts.values():
        chapters.append(as_markdown(part))
        for plot in part.get("plots", ()):
            draw(plot, folder)
    (folder / "README.md").write_text("\n".join([HEAD, *chapters]))
