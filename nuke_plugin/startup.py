"""What Nuke's interface gets from us: menus, the panel, and callbacks around loading and saving."""

from __future__ import annotations

import traceback
from pathlib import Path

import nuke

NODES = (
    ("ObjectId Picker", "ObjectIdPicker", "Picks objects of an ObjectId sequence by name."),
    ("ObjectId MultiMatte", "ObjectIdMultiMatte", "Up to eight picks as channels of one layer."),
    ("Segmatte Prompt", "SegmattePrompt", "Points and a box on keyframes, asking for one object."),
)
PRECOMP = "ToolSets/Segmatte/Segmatte precomp.nk"
PANEL_ID = "org.segmatte.Panel"
PANEL_CLASS = "nuke_plugin.panel.SegmattePanel"


def install_menus() -> None:
    """Put everything in its place; called by ``menu.py``, with an interface only."""
    folder = Path(__file__).parent
    for part in ("gizmos", "."):
        nuke.pluginAddPath(str((folder / part).resolve()), addToSysPath=False)
    nodes = nuke.menu("Nodes").addMenu("Segmatte")
    for title, node_class, tooltip in NODES:
        nodes.addCommand(title, f"nuke.createNode({node_class!r})", tooltip=tooltip)
    # The ToolSets menu may have been filled before this folder was on the plug-in path.
    nodes.addCommand(
        "Segmatte Precomp",
        f"nuke.loadToolset({(folder / PRECOMP).resolve().as_posix()!r})",
        tooltip="Reads an ObjectId sequence, picks from it, writes the matte for other scripts.",
    )
    nuke.addOnScriptLoad(bring_up_to_date)
    nuke.addOnScriptSave(bring_up_to_date)
    _register_panel()


def bring_up_to_date() -> None:
    """Compile picks again that no longer fit what is on disk; never stops a load or a save."""
    if not nuke.GUI:
        return
    try:
        from nuke_plugin import picker

        picker.recompile_all()
    except Exception:
        traceback.print_exc()


def _register_panel() -> None:
    from nukescripts import panels  # type: ignore[import-not-found]

    panels.registerWidgetAsPanel(PANEL_CLASS, "Segmatte", PANEL_ID)
    command = (
        "import nuke, nukescripts.panels as p; "
        f"p.registerWidgetAsPanel({PANEL_CLASS!r}, 'Segmatte', {PANEL_ID!r}, create=True)"
        ".addToPane(nuke.getPaneFor('Properties.1'))"
    )
    nuke.menu("Nuke").addMenu("Segmatte").addCommand("Open Panel", command)
