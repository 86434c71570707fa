"""Which models this server offers, and which are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.errors import SettingsError
from server.models.catalogue import CATALOGUE
from server.models.store import states

_DEMO = {"demo-groundingdino": "detector", "demo-sam2": "segmenter"}


@dataclass(frozen=True)
class OfferedModel:
    """A model clients may choose."""

    name: str
    kind: Literal["detector", "segmenter"]
    summary: str
    licence: str
    ready: bool
    demo: bool


def offered_models(chosen: Sequence[str]) -> list[OfferedModel]:
    """Models a site offers.

    Args:
        chosen: their names; none: all official and demo models. Only a name given here can be
            anything else, as the fakes of tests are.
    """
    ready = {item.model.name for item in states() if item.state == "fetched"}
    known = [
        OfferedModel(
            model.name,
            "segmenter" if model.family == "sam2" else "detector",
            model.summary,
            model.licence,
            model.name in ready,
            demo=False,
        )
        for model in CATALOGUE.values()
    ]
    for name, kind in _DEMO.items():
        summary = "small stand-in trained on drawn figures, for trying things out"
        known.append(OfferedModel(name, kind, summary, "Apache-2.0", True, demo=True))  # type: ignore[arg-type]
    if not chosen:
        return known
    offered = [model for model in known if model.name in chosen]
    for name in chosen:
        if name not in {model.name for model in known}:
            for kind in ("detector", "segmenter"):
                offered.append(OfferedModel(name, kind, "", "", True, demo=False))  # type: ignore[arg-type]
    return offered


def check_model(name: str | None, kind: str, offered: Sequence[OfferedModel]) -> None:
    """Refuse names that are not offered: some loaders take paths in a name.

    Raises:
        SettingsError: it is not offered.
    """
    names = [model.name for model in offered if model.kind == kind]
    if name is not None and name not in names:
        raise SettingsError(
            f"This server does not offer the {kind} {name!r}. It offers {', '.join(names)}."
        )
