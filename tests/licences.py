"""Licences of everything the default install brings: `make licences`.

Packages by their metadata, native libraries by the folders wheels bundle them in, and weights.
Exits with 1 if anything in the default install may not be used commercially or is under the GPL.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

EXTRA = "server"
MODEL_PACKAGES = ("sam2", "groundingdino-py", "supervision")
"""Installed beside the extra, without their own dependencies."""

_FORBIDDEN = re.compile(r"\b(A?GPL|non-?commercial|CC[- ]BY[- ]NC)\b", re.IGNORECASE)
_ALLOWED = re.compile(r"LGPL|Lesser|GCC[- ]exception|Runtime Library Exception", re.IGNORECASE)
_NATIVE_GPL = re.compile(r"lib(x264|x265|postproc|xvidcore|fdk)", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """One installed distribution."""

    name: str
    version: str
    licence: str
    libraries: tuple[str, ...]
    """Native libraries its wheel bundles."""

    @property
    def refused(self) -> str:
        """Why it may not be in the default install, or nothing."""
        if _FORBIDDEN.search(self.licence) and not _ALLOWED.search(self.licence):
            return self.licence
        return ", ".join(lib for lib in self.libraries if _NATIVE_GPL.search(lib))


def default_install() -> list[Package]:
    """Everything `pip install segmatte[server]` and the model packages bring, by name."""
    found: dict[str, Package] = {}
    waiting = [("segmatte", EXTRA), *((name, "") for name in MODEL_PACKAGES)]
    while waiting:
        name, extra = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[key] = Package(
            distribution.metadata["Name"],
            distribution.version,
            _licence(distribution),
            _libraries(distribution),
        )
        if name in MODEL_PACKAGES:
            continue
        for text in distribution.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting.append((requirement.name, ",".join(requirement.extras)))
    return sorted(found.values(), key=lambda package: package.name.lower())


def _licence(distribution: metadata.Distribution) -> str:
    data = distribution.metadata
    expression = data.get("License-Expression") or ""
    classified = [
        line.split(" :: ")[-1]
        for line in data.get_all("Classifier") or []
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    plain = (data.get("License") or "").strip().splitlines()
    return expression or ", ".join(classified) or (plain[0][:70] if plain else "not stated")


def _libraries(distribution: metadata.Distribution) -> tuple[str, ...]:
    names = {
        file.name.split("-")[0].split(".so")[0]
        for file in distribution.files or []
        if ".libs/" in str(file) or re.search(r"lib[^/]+\.so[.\d]*$", file.name)
    }
    return tuple(sorted(names))


def main() -> int:
    """Print the tables; returns the exit code."""
    packages = default_install()
    for package in packages:
        print(f"{package.name:<28} {package.version:<14} {package.licence}")
        if package.libraries:
            print(f"{'':<28} bundles {', '.join(package.libraries)}")
    print("\nweights")
    root = Path(__file__).resolve().parent.parent
    for file in sorted((root / "server" / "models" / "demo").glob("*.safetensors")):
        print(f"{file.name:<43} Apache-2.0, trained by server/training on drawn plates")
    print(f"{'official models':<43} not part of the install; see docs/models.md")
    refused = [(p.name, p.refused) for p in packages if p.refused]
    for name, reason in refused:
        print(f"REFUSED {name}: {reason}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
