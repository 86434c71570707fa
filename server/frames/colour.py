"""From a plate's colour space to what models see: display-referred sRGB.

Models were trained on photographs, so a scene-referred plate goes through the view an artist
would look at it with (the OCIO config's default view of its sRGB display); a display-referred one
is already such a picture and is only converted to sRGB. Exposure is a gain in linear light before
the view and changes nothing but what the model sees.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import PlateError
from server.frames.images import Picture

BUILTIN_CONFIG = "studio-config-latest"
"""The ACES studio config inside OpenColorIO: used when neither an option nor $OCIO names one."""

_MIDDLE_GREY = 0.18
_MOST_STOPS = 20
_LARGEST_HALF = 65504.0
_GRID_SIZE = 65
_SHAPER_OFFSET = 2.0**-8
_SHAPER_TOP = 2.0**7

# Primaries and white as in OpenEXR's attribute: red x y, green x y, blue x y, white x y; and a
# name that the built-in config knows the linear space by.
KNOWN_CHROMATICITIES = (
    ((0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767), "lin_ap0_scene"),
    ((0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767), "lin_ap1_scene"),
    ((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), "lin_rec709_scene"),
    ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329), "lin_p3d65_scene"),
    ((0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329), "lin_rec2020_scene"),
    ((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.329), "lin_adobergb_scene"),
    ((0.684, 0.313, 0.221, 0.848, 0.0861, -0.102, 0.3127, 0.329), "ocio:lin_awg3_scene"),
    ((0.7347, 0.2653, 0.1424, 0.8576, 0.0991, -0.0308, 0.3127, 0.329), "ocio:lin_awg4_scene"),
    ((0.780308, 0.304253, 0.121595, 1.493994, 0.095612, -0.084589, 0.3127, 0.329),
     "ocio:lin_rwg_scene"),
    ((0.73, 0.28, 0.14, 0.855, 0.1, -0.05, 0.3127, 0.329), "ocio:lin_sgamut3_scene"),
    ((0.766, 0.275, 0.225, 0.8, 0.089, -0.087, 0.3127, 0.329), "ocio:lin_sgamut3cine_scene"),
)  # fmt: skip


@dataclass(frozen=True)
class ColourChoice:
    """What the user said about looking at the plate; ``None`` leaves it to the config."""

    display: str | None = None
    view: str | None = None


@dataclass(frozen=True)
class InputSpace:
    """The colour space a plate is read as, and why."""

    name: str
    reason: str
    """``option``, ``metadata: …``, ``file rule …`` or ``assumed: …``."""
    warning: str = ""


class ColourPipeline:
    """Turns a plate's pixels into display-referred sRGB."""

    def __init__(
        self, *, config: ColourConfig, space: InputSpace, choice: ColourChoice, stops: float = 0.0
    ) -> None:
        """Prepare the conversion.

        Args:
            config: the OCIO config.
            space: what the plate is in.
            choice: the user's display and view.
            stops: brightens what the model sees.

        Raises:
            PlateError: the config lacks the display or view asked for, or cannot convert.
        """
        if not math.isfinite(stops) or abs(stops) > _MOST_STOPS:
            raise PlateError(
                f"Expected an exposure between -{_MOST_STOPS} and {_MOST_STOPS} stops or 'auto', "
                f"found {stops}."
            )
        self._config = config
        self._space = space
        self._stops = stops
        self._display, warning = config.srgb_display(choice.display)
        self._view = ""
        self.warnings = tuple(filter(None, (space.warning, warning)))
        self._is_scene_referred = config.is_scene_referred(space.name)
        if self._is_scene_referred:
            self._view = config.view(self._display, choice.view)
            self._processor = config.viewing(
                space.name, display=self._display, view=self._view, gain=2.0**stops
            )
        else:
            self._processor = config.conversion(space.name, config.display_space(self._display))

    def to_display(self, pixels: np.ndarray) -> np.ndarray:
        """Convert to what the model sees.

        Args:
            pixels: (H, W, 3) float32 in the plate's space; is overwritten. NaN counts as black,
                infinities as the largest half float.

        Returns:
            (H, W, 3) float32 display-referred sRGB, 0..1.
        """
        pixels = _without_surprises(pixels)
        if not self._processor.isNoOp():
            self._processor.applyRGB(pixels)
        pixels = _unit(pixels)
        if self._stops and not self._is_scene_referred:
            pixels = _unit(_srgb_encode(_srgb_decode(pixels) * np.float32(2.0**self._stops)))
        return pixels

    def describe(self) -> dict[str, object]:
        """What was done, for the report."""
        return {
            "space": self._space.name,
            "space_from": self._space.reason,
            "display": self._display,
            "view": self._view,
            "config": self._config.name,
            "exposure_stops": self._stops,
        }


class DisplayReferred:
    """Pictures that are what the model sees already; in place of a ``ColourPipeline``."""

    warnings: tuple[str, ...] = ()

    def to_display(self, pixels: np.ndarray) -> np.ndarray:
        """The pixels themselves, (H, W, 3) float32, 0..1; are overwritten."""
        return _unit(_without_surprises(pixels))

    def describe(self) -> dict[str, object]:
        """What was done, for the report."""
        return {
            "space": "display-referred sRGB",
            "space_from": "model images",
            "display": "",
            "view": "",
            "config": "",
            "exposure_stops": 0.0,
        }


def automatic_exposure(
    samples: Iterable[np.ndarray], *, config: ColourConfig, space: InputSpace
) -> float:
    """Stops that bring the geometric mean of a plate's luminance to middle grey.

    Args:
        samples: (H, W, 3) float32 each, in the plate's space; are overwritten.
        config: the OCIO config.
        space: what the plate is in.

    Returns:
        Quarter stops, at most 8 either way.
    """
    logs = []
    is_scene_referred = config.is_scene_referred(space.name)
    display, _ = config.srgb_display(None)
    target = config.scene_linear() if is_scene_referred else config.display_space(display)
    processor = config.conversion(space.name, target)
    for pixels in samples:
        pixels = _without_surprises(np.ascontiguousarray(pixels))
        processor.applyRGB(pixels)
        linear = pixels if is_scene_referred else _srgb_decode(_unit(pixels))
        luminance = linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        logs.append(float(np.mean(np.log2(np.clip(np.nan_to_num(luminance), 1e-4, 1e4)))))
    stops = math.log2(_MIDDLE_GREY) - sum(logs) / len(logs)
    return max(-8.0, min(8.0, round(4 * stops) / 4))


class ColourConfig:
    """An OCIO config and the few questions this program asks it."""

    def __init__(self, setting: str | None = None) -> None:
        """Load a config.

        Args:
            setting: path of a config, or ``ocio://NAME`` for a built-in one; by default ``$OCIO``,
                else the built-in ACES studio config.

        Raises:
            PlateError: the config cannot be read.
        """
        self._ocio = _opencolorio()
        chosen = setting or os.environ.get("OCIO") or f"ocio://{BUILTIN_CONFIG}"
        self.is_builtin = chosen.startswith("ocio://")
        try:
            self._config = self._ocio.Config.CreateFromFile(chosen)
        except (self._ocio.Exception, self._ocio.ExceptionMissingFile) as error:
            origin = "--ocio-config" if setting else "$OCIO"
            raise PlateError(
                f"Expected an OCIO config at {chosen} ({origin}), found nothing readable: "
                f"{_sentence(error)} Correct it, or leave it out for the built-in config.",
                path=Path(chosen),
            ) from error
        self.name = f"ocio://{self._config.getName()}" if self.is_builtin else chosen

    def infer_space(self, choice: str | None, *, path: Path, picture: Picture) -> InputSpace:
        """Settle which colour space a plate is in.

        In this order: the option; what the file says (``colorInteropID``, the ACES container flag,
        chromaticities); a file rule of the config; an assumption, with a warning: integer files
        are sRGB pictures, float files are scene-linear, unless the site's own config has a
        default rule.

        Raises:
            PlateError: the config lacks the space asked for.
        """
        if choice is not None:
            return InputSpace(self.space(choice), "option")
        warning = ""
        for said, evidence in _metadata(picture):
            known = self._equivalent(said)
            if known is not None:
                return InputSpace(known, f"metadata: {evidence}")
            warning = (
                f"The plate says {evidence}, which config {self.name} has no colour space for. "
            )
        rule_space, rule_index = self._config.getColorSpaceFromFilepath(str(path))
        if not self._config.filepathOnlyMatchesDefaultRule(str(path)):
            rule_name = self._config.getFileRules().getName(rule_index)
            space = self.space(rule_space)
            if self.is_builtin:
                warning += (
                    f"The plate does not say its colour space; it is taken as {space!r} by the "
                    f"rule {rule_name!r} of the built-in config. Set the right one with "
                    "--colorspace, or the site's config in $OCIO."
                )
            return InputSpace(space, f"file rule {rule_name}", warning=warning.rstrip())
        if not self.is_builtin and self._config.getColorSpace(rule_space) is not None:
            space, why = self.space(rule_space), f"default rule of {self.name}"
        elif picture.is_float:
            space, why = self.scene_linear(), "float samples"
        else:
            display, _ = self.srgb_display(None)
            space, why = self.display_space(display), "integer samples"
        return InputSpace(
            space,
            f"assumed: {why}",
            warning=f"{warning}Nothing says which colour space the plate is in; it is taken as "
            f"{space!r} ({why}). Set the right one with --colorspace.",
        )

    def space(self, name: str) -> str:
        """The config's own name for a space, alias or role.

        Raises:
            PlateError: the config has no such space; near names are listed.
        """
        found = self._config.getColorSpace(name)
        if found is None:
            raise PlateError(self._unknown("colour space", name, self._space_names()))
        return str(found.getName())

    def is_scene_referred(self, space: str) -> bool:
        """Whether pictures in this space need a view: neither made for a screen nor data."""
        found = self._config.getColorSpace(space)
        is_scene = found.getReferenceSpaceType() == self._ocio.REFERENCE_SPACE_SCENE
        return bool(is_scene and not found.isData())

    def scene_linear(self) -> str:
        """The space of the role ``scene_linear``.

        Raises:
            PlateError: the config has no such role.
        """
        found = self._config.getColorSpace("scene_linear")
        if found is None:
            raise PlateError(
                f"Config {self.name} has no role scene_linear. Add it to the config, or name "
                "another config with --ocio-config."
            )
        return str(found.getName())

    def srgb_display(self, choice: str | None) -> tuple[str, str]:
        """The display whose pictures are sRGB, and a warning if the config has none such.

        Raises:
            PlateError: the display asked for does not exist.
        """
        displays = [str(name) for name in self._config.getDisplays()]
        if choice is not None:
            if choice not in displays:
                raise PlateError(self._unknown("display", choice, displays))
            return choice, ""
        for name in displays:
            if "srgb" in name.casefold():
                return name, ""
        fallback = str(self._config.getDefaultDisplay())
        return fallback, (
            f"Config {self.name} has no display with sRGB in its name; models see "
            f"{fallback!r}. Choose another with --display."
        )

    def view(self, display: str, choice: str | None) -> str:
        """A view of a display, the config's default one unless chosen.

        Raises:
            PlateError: the display has no such view.
        """
        views = [str(name) for name in self._config.getViews(display)]
        if choice is None:
            return str(self._config.getDefaultView(display))
        if choice not in views:
            raise PlateError(self._unknown(f"view of display {display!r}", choice, views))
        return choice

    def display_space(self, display: str) -> str:
        """The colour space of a display's pictures."""
        view = str(self._config.getDefaultView(display))
        name = str(self._config.getDisplayViewColorSpaceName(display, view))
        found = self._config.getColorSpace(display if name == "<USE_DISPLAY_NAME>" else name)
        return str(found.getName()) if found is not None else name

    def conversion(self, source: str, target: str) -> Any:
        """A CPU processor between two colour spaces; data passes untouched.

        Raises:
            PlateError: the config cannot convert.
        """
        return self._processor(self._ocio.ColorSpaceTransform(src=source, dst=target))[1]

    def viewing(self, source: str, *, display: str, view: str, gain: float) -> Any:
        """A CPU processor from a scene-referred space to a display through a view.

        Views computed by OCIO's fixed functions (ACES 2) take seconds a 4K frame on a core, so
        these are evaluated once on a 65³ grid behind a logarithmic shaper; 99 % of colours then
        differ by less than half an 8-bit code value. Everything else is exact.

        Args:
            source: the plate's space.
            display: name of the display.
            view: name of the view.
            gain: factor in linear light before the view.

        Raises:
            PlateError: the config cannot convert.
        """
        ocio = self._ocio
        linear = self.scene_linear()
        steps = [
            ocio.ColorSpaceTransform(src=source, dst=linear),
            ocio.MatrixTransform(matrix=np.diag([gain, gain, gain, 1.0]).ravel().tolist()),
        ]
        look = ocio.DisplayViewTransform(src=linear, display=display, view=view)
        chain, cpu = self._processor(look)
        if any(isinstance(step, ocio.FixedFunctionTransform) for step in chain):
            steps += self._tabulated(cpu)
        else:
            steps.append(look)
        return self._processor(ocio.GroupTransform(steps))[1]

    def _tabulated(self, cpu: Any) -> list[Any]:
        """A shaper and a table that stand for a slow processor on scene-linear colour."""
        bottom = math.log2(_SHAPER_OFFSET)
        slope = 1.0 / (math.log2(_SHAPER_TOP + _SHAPER_OFFSET) - bottom)
        axis = 2.0 ** (np.linspace(0.0, 1.0, _GRID_SIZE) / slope + bottom) - _SHAPER_OFFSET
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        colours = grid.astype(np.float32).reshape(1, -1, 3)
        cpu.applyRGB(colours)
        table = self._ocio.Lut3DTransform(gridSize=_GRID_SIZE)
        table.setInterpolation(self._ocio.INTERP_TETRAHEDRAL)
        table.setData(_unit(colours).ravel())
        shaper = self._ocio.LogAffineTransform(
            logSideSlope=[slope] * 3,
            logSideOffset=[-bottom * slope] * 3,
            linSideSlope=[1.0] * 3,
            linSideOffset=[_SHAPER_OFFSET] * 3,
        )
        return [shaper, table]

    def _processor(self, transform: Any) -> tuple[Any, Any]:
        try:
            processor = self._config.getProcessor(transform)
            return processor.createGroupTransform(), processor.getDefaultCPUProcessor()
        except (self._ocio.Exception, self._ocio.ExceptionMissingFile) as error:
            raise PlateError(
                f"Config {self.name} cannot convert the plate for the model: {_sentence(error)} "
                "Choose another --colorspace, --display or --view, or repair the config."
            ) from error

    def _equivalent(self, name: str) -> str | None:
        """A space by this name, or by any other name the built-in config has for it."""
        for candidate in (name, f"ocio:{name}"):
            found = self._config.getColorSpace(candidate)
            if found is not None:
                return str(found.getName())
        if self.is_builtin:
            return None
        reference = self._ocio.Config.CreateFromFile(f"ocio://{BUILTIN_CONFIG}")
        for candidate in (name, f"ocio:{name}"):
            known = reference.getColorSpace(candidate)
            if known is None:
                continue
            for alias in (known.getName(), *known.getAliases()):
                found = self._config.getColorSpace(alias)
                if found is not None:
                    return str(found.getName())
        return None

    def _space_names(self) -> list[str]:
        names: list[str] = []
        for space in self._config.getColorSpaces(
            self._ocio.SEARCH_REFERENCE_SPACE_ALL, self._ocio.COLORSPACE_ALL
        ):
            names += [str(space.getName()), *map(str, space.getAliases())]
        return names + [str(role) for role in self._config.getRoleNames()]

    def _unknown(self, kind: str, name: str, known: list[str]) -> str:
        folded = {other.casefold(): other for other in known}
        inside = [other for key, other in folded.items() if name.casefold() in key]
        close = [
            folded[key]
            for key in difflib.get_close_matches(name.casefold(), list(folded), n=5, cutoff=0.4)
        ]
        near = list(dict.fromkeys([*inside, *close]))[:6] or known[:6]
        return (
            f"Config {self.name} has no {kind} {name!r}. Near names: "
            f"{', '.join(repr(other) for other in near)}. Use one of the config's names, or name "
            "another config with --ocio-config."
        )


def _metadata(picture: Picture) -> list[tuple[str, str]]:
    """Names a file gives its colour space, surest first, with the words for the report."""
    said: list[tuple[str, str]] = []
    interop = picture.colour_interop_id
    if interop and interop != "unknown":
        said.append((interop, f"colorInteropID {interop}"))
    if picture.is_aces_container:
        said.append(("lin_ap0_scene", "acesImageContainerFlag"))
    if len(picture.chromaticities) == 8:
        for known, space in KNOWN_CHROMATICITIES:
            if max(abs(a - b) for a, b in zip(known, picture.chromaticities, strict=True)) < 2e-3:
                said.append((space, f"chromaticities of {space.removeprefix('ocio:')}"))
                break
        else:
            values = ", ".join(f"{value:.4g}" for value in picture.chromaticities)
            said.append(("", f"chromaticities {values}"))
    return said


def _without_surprises(pixels: np.ndarray) -> np.ndarray:
    np.clip(pixels, -_LARGEST_HALF, _LARGEST_HALF, out=pixels)
    if np.isnan(pixels.min()):
        pixels[np.isnan(pixels)] = 0.0
    return pixels


def _unit(pixels: np.ndarray) -> np.ndarray:
    np.fmax(pixels, 0.0, out=pixels)  # of NaN and 0, fmax takes 0
    np.minimum(pixels, 1.0, out=pixels)
    return pixels


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().rstrip('.')}."


def _srgb_decode(pixels: np.ndarray) -> np.ndarray:
    # IEC 61966-2-1
    return np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def _srgb_encode(linear: np.ndarray) -> np.ndarray:
    linear = np.maximum(linear, 0.0)
    return np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055
    ).astype(np.float32)


def _opencolorio() -> Any:
    try:
        import PyOpenColorIO
    except ImportError as error:
        raise PlateError(
            "Reading plates needs the package opencolorio: install segmatte[server]."
        ) from error
    return PyOpenColorIO
