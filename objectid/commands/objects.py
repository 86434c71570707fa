"""``segmatte objects``: combine results, and rename, merge, delete or move their objects."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from objectid.commands import add_reading, add_source, on_terminal, process_count
from objectid.filter import compile_filter
from objectid.sequence import find_result

if TYPE_CHECKING:
    from objectid.edit import Change

HELP = "combine results; rename, merge, delete or move their objects; undo"

_FILTER_HELP = "which objects, as in 'pick'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    combine = actions.add_parser("combine", help="several results of one shot as a new one")
    combine.add_argument("sources", metavar="DIR", type=Path, nargs="+", help="result folders")
    combine.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="new folder"
    )
    combine.add_argument("--name", default="", help="name of the new result (default: the first's)")
    combine.add_argument(
        "--priority",
        choices=("first", "last", "share"),
        default="first",
        help="where coverages add up to more than 1: earlier results take theirs and later ones "
        "what is left; the other way round; or all are divided by the sum (default: first)",
    )
    combine.add_argument(
        "--same-name",
        choices=("refuse", "merge", "number"),
        default="refuse",
        help="a name in two results: stop, make it one object, or number the later one on",
    )
    add_reading(combine)
    rename = actions.add_parser("rename", help="an object and what is below it, under a new name")
    add_source(rename)
    rename.add_argument("old", metavar="OLD", help="the name, /person/person_01")
    rename.add_argument("new", metavar="NEW", help="the new name, /hero")
    _add_change(rename)
    merge = actions.add_parser("merge", help="several objects as one")
    add_source(merge)
    merge.add_argument("filter", metavar="FILTER", help=_FILTER_HELP)
    merge.add_argument("--into", metavar="NAME", required=True, help="the name of the one object")
    _add_change(merge)
    delete = actions.add_parser("delete", help="take objects away; nothing is put in their place")
    add_source(delete)
    delete.add_argument("filter", metavar="FILTER", help=_FILTER_HELP)
    _add_change(delete)
    move = actions.add_parser("move", help="put objects below another name")
    add_source(move)
    move.add_argument("filter", metavar="FILTER", help=_FILTER_HELP)
    move.add_argument("parent", metavar="PARENT", help="the name above, /crowd; '/' is the top")
    _add_change(move)
    undo = actions.add_parser("undo", help="put back what the last change replaced; twice redoes")
    add_source(undo)


def _add_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change and change nothing"
    )
    add_reading(parser)


def run(arguments: argparse.Namespace) -> int:
    """Change the objects.

    Raises:
        ObjectIdError: a source cannot be read or the change is not possible; the sequence is as
            it was.
    """
    from objectid import edit

    if arguments.action == "combine":
        return _combine(arguments)
    result = find_result(arguments.source)
    if arguments.action == "undo":
        print(f"{edit.undo(result)} files put back.")
        return 0
    plan = _plan(arguments)
    if arguments.dry_run:
        change = plan(edit.shot_ids(result))
    else:
        change = edit.apply_change(
            result,
            plan,
            command=_command(arguments),
            lenient=arguments.lenient,
            processes=process_count(arguments.processes, len(result.frames)),
            report=on_terminal(),
        )
    for old, new in sorted(change.renamed.items()):
        print(f"{old} -> {new}")
    for name in change.deleted:
        print(f"{name} deleted")
    if not arguments.dry_run:
        print(f"{len(result.frames)} frames changed; 'segmatte objects undo' puts them back.")
    return 0


def _plan(arguments: argparse.Namespace) -> Callable[[Mapping[str, int]], Change]:
    from objectid import edit

    if arguments.action == "rename":
        return lambda ids: edit.rename(ids, arguments.old, arguments.new)
    wanted = compile_filter(arguments.filter)
    if arguments.action == "merge":
        return lambda ids: edit.merge(ids, wanted, arguments.into)
    if arguments.action == "move":
        return lambda ids: edit.move(ids, wanted, arguments.parent)
    return lambda ids: edit.delete(ids, wanted)


def _command(arguments: argparse.Namespace) -> str:
    words = (getattr(arguments, name, None) for name in ("old", "new", "filter", "into", "parent"))
    return " ".join([arguments.action, *(repr(word) for word in words if word is not None)])


def _combine(arguments: argparse.Namespace) -> int:
    from objectid.edit import combine

    results = [find_result(source) for source in arguments.sources]
    frames = len({frame for result in results for frame in result.frames})
    combined = combine(
        results,
        arguments.output,
        name=arguments.name,
        priority=arguments.priority,
        same_name=arguments.same_name,
        lenient=arguments.lenient,
        processes=process_count(arguments.processes, frames),
        report=on_terminal(),
    )
    print(f"{len(combined.frames)} frames: {combined.folder}")
    return 0
