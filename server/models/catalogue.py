"""The official models this program can use: where they come from and how to know them.

Sizes and sha256 were gathered from the records of public projects that agree with each other;
this project has not had the files themselves in hand. They decide: a file that differs is refused.
Nothing is downloaded from here except by ``segmatte models fetch``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from server.errors import ModelError

_META = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
_HUB = "https://huggingface.co"
_GROUNDINGDINO = "https://github.com/IDEA-Research/GroundingDINO/releases/download"
_BERT_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"


@dataclass(frozen=True)
class OfficialFile:
    """A file as its authors published it."""

    name: str
    size_bytes: int
    sha256: str
    urls: tuple[str, ...]
    """Where it is published, first choice first."""


@dataclass(frozen=True)
class OfficialModel:
    """A published model and what its checkpoint looks like inside."""

    name: str
    """The name used in settings and commands."""
    family: Literal["sam2", "groundingdino"]
    checkpoint: OfficialFile
    """A torch pickle ``{"model": state dict}``."""
    config: str
    """The architecture, by the name the family's package has for it."""
    licence: str
    summary: str
    vocabulary: OfficialFile | None = None
    """Word pieces of the text tower; its weights are in the checkpoint."""
    key_prefix: str = ""
    """Stands before every key of the checkpoint and is removed."""
    unused_keys: tuple[str, ...] = ()
    """Keys, or beginnings of keys, that the network has no place for."""


_BERT_VOCABULARY = OfficialFile(
    name="vocab.txt",
    size_bytes=231_508,
    sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    urls=(f"{_HUB}/google-bert/bert-base-uncased/resolve/{_BERT_REVISION}/vocab.txt",),
)


def _sam2(size: str, *, file: str, size_bytes: int, sha256: str, config: str) -> OfficialModel:
    repository = f"facebook/sam2.1-hiera-{size}"
    return OfficialModel(
        name=f"sam2.1-{size}",
        family="sam2",
        checkpoint=OfficialFile(
            name=file,
            size_bytes=size_bytes,
            sha256=sha256,
            urls=(f"{_META}/{file}", f"{_HUB}/{repository}/resolve/main/{file}"),
        ),
        config=f"configs/sam2.1/{config}",
        licence="Apache-2.0",
        summary=f"SAM 2.1 {size}: masks from boxes and points, tracking",
    )


def _groundingdino(
    variant: str, *, file: str, release: str, size_bytes: int, sha256: str, config: str
) -> OfficialModel:
    return OfficialModel(
        name=f"groundingdino-{variant}",
        family="groundingdino",
        checkpoint=OfficialFile(
            name=file,
            size_bytes=size_bytes,
            sha256=sha256,
            urls=(
                f"{_GROUNDINGDINO}/{release}/{file}",
                f"{_HUB}/ShilongLiu/GroundingDINO/resolve/main/{file}",
            ),
        ),
        config=config,
        licence="Apache-2.0",
        summary=f"GroundingDINO {variant.title()}: boxes from text",
        vocabulary=_BERT_VOCABULARY,
        key_prefix="module.",
        unused_keys=("bert.embeddings.position_ids", "label_enc."),
    )


CATALOGUE: Mapping[str, OfficialModel] = {
    model.name: model
    for model in (
        _groundingdino(
            "swin-t",
            file="groundingdino_swint_ogc.pth",
            release="v0.1.0-alpha",
            size_bytes=693_997_677,
            sha256="3b3ca2563c77c69f651d7bd133e97139c186df06231157a64c507099c52bc799",
            config="GroundingDINO_SwinT_OGC",
        ),
        _groundingdino(
            "swin-b",
            file="groundingdino_swinb_cogcoor.pth",
            release="v0.1.0-alpha2",
            size_bytes=938_057_991,
            sha256="46270f7a822e6906b655b729c90613e48929d0f2bb8b9b76fd10a856f3ac6ab7",
            config="GroundingDINO_SwinB_cfg",
        ),
        _sam2(
            "tiny",
            file="sam2.1_hiera_tiny.pt",
            size_bytes=156_008_466,
            sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
            config="sam2.1_hiera_t.yaml",
        ),
        _sam2(
            "small",
            file="sam2.1_hiera_small.pt",
            size_bytes=184_416_285,
            sha256="6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
            config="sam2.1_hiera_s.yaml",
        ),
        _sam2(
            "base-plus",
            file="sam2.1_hiera_base_plus.pt",
            size_bytes=323_606_802,
            sha256="a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
            config="sam2.1_hiera_b+.yaml",
        ),
        _sam2(
            "large",
            file="sam2.1_hiera_large.pt",
            size_bytes=898_083_611,
            sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
            config="sam2.1_hiera_l.yaml",
        ),
    )
}
"""Every official model by name."""


def find_model(name: str, *, catalogue: Mapping[str, OfficialModel] = CATALOGUE) -> OfficialModel:
    """Look a model up by name.

    Raises:
        ModelError: there is no such model; near names are listed.
    """
    if name in catalogue:
        return catalogue[name]
    near = difflib.get_close_matches(name, list(catalogue), n=3, cutoff=0.4) or list(catalogue)
    raise ModelError(
        f"There is no official model {name!r}. Near names: {', '.join(near)}. "
        "`segmatte models list` shows all."
    )
