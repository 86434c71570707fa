"""The last stage: finished masks become mattes, names, and pictures a person looks at.

``coverage`` makes soft edges; ``names`` names objects and lets a repeated run keep them; ``frames``
writes ObjectId files; ``pictures`` draws the contact sheet and the overlay.
"""

from server.deliver.coverage import Coverage, EdgeSettings, coverages
from server.deliver.frames import Delivery, EarlierResult, LayerRecord, Plan, plan_delivery
from server.deliver.names import Inheritance, Naming, Reference, name_layers, taking_order
from server.deliver.pictures import (
    Legend,
    OverlayVideo,
    contact_sheet,
    overlay,
    sheet_positions,
    srgb,
    write_png,
)

__all__ = [
    "Coverage",
    "Delivery",
    "EarlierResult",
    "EdgeSettings",
    "Inheritance",
    "LayerRecord",
    "Legend",
    "Naming",
    "OverlayVideo",
    "Plan",
    "Reference",
    "contact_sheet",
    "coverages",
    "name_layers",
    "overlay",
    "plan_delivery",
    "sheet_positions",
    "srgb",
    "taking_order",
    "write_png",
]
