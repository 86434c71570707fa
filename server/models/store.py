"""The folder of official models on this machine: fetched once, checked, converted, then read.

``require`` is what adapters call: it never touches the network. ``fetch`` is what people call. The
published pickles are opened with ``weights_only=True`` and only after their sha256 is proven; what
stays on disk is safetensors, which cannot carry code.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import ModelError, ResourceError
from server.models.catalogue import CATALOGUE, OfficialFile, OfficialModel, find_model
from server.models.download import (
    PATIENT,
    DownloadSettings,
    check_file,
    copy_file,
    download,
    sha256_of,
)
from server.progress import Report, ignore_progress

if TYPE_CHECKING:
    import torch

_WEIGHTS = "weights.safetensors"
_RECORD = "model.json"
_TOKENIZER = "tokenizer"
_DEFAULT_FOLDER = Path("~/.local/share/segmatte/models")


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model on this machine."""

    name: str
    family: str
    """``sam2`` or ``groundingdino``."""
    weights: Path
    """safetensors with the network's own keys."""
    config: str
    """The architecture, by the name the family's package has for it."""
    tokenizer: Path | None
    """Folder for ``AutoTokenizer`` and ``BertConfig``, without weights."""
    sha256: str
    """Of the published checkpoint: names the weights in reports."""


@dataclass(frozen=True)
class _Record:
    """What was fetched and converted, kept beside the weights."""

    name: str
    sha256: str
    weights_sha256: str
    weights_bytes: int
    source: str


@dataclass(frozen=True)
class ModelState:
    """Whether a model is usable here."""

    model: OfficialModel
    state: str
    """``fetched``, ``absent`` or ``damaged``."""
    problem: str = ""


def models_folder() -> Path:
    """Where models live: ``$SEGMATTE_MODELS``, else ``~/.local/share/segmatte/models``."""
    return Path(os.environ.get("SEGMATTE_MODELS") or _DEFAULT_FOLDER).expanduser()


def require(
    name: str,
    *,
    folder: Path | None = None,
    catalogue: Mapping[str, OfficialModel] = CATALOGUE,
) -> ModelFiles:
    """The files of a model that was fetched before.

    Args:
        name: a name of the catalogue, for example ``sam2.1-large``.
        folder: the models' folder; by default :func:`models_folder`.
        catalogue: the models that exist.

    Raises:
        ModelError: there is no such model, or it is not fetched or is damaged; the message holds
            the command that cures it.
    """
    model = find_model(name, catalogue=catalogue)
    home = (folder or models_folder()) / model.name
    if not home.is_dir():
        raise ModelError(
            f"Model {name} is not on this machine (looked in {home}). Fetch it once with "
            f"`segmatte models fetch {name}`; nothing is downloaded during a job."
        )
    record = _read_record(home, model=model)
    weights = home / _WEIGHTS
    size = weights.stat().st_size if weights.is_file() else 0
    if size != record.weights_bytes:
        raise _damaged(name, f"{weights} has {size} bytes, expected {record.weights_bytes}")
    tokenizer = home / _TOKENIZER if model.vocabulary is not None else None
    if tokenizer is not None and not (tokenizer / "vocab.txt").is_file():
        raise _damaged(name, f"{tokenizer / 'vocab.txt'} is missing")
    return ModelFiles(
        name=name,
        family=model.family,
        weights=weights,
        config=model.config,
        tokenizer=tokenizer,
        sha256=record.sha256,
    )


def verify(
    name: str,
    *,
    folder: Path | None = None,
    catalogue: Mapping[str, OfficialModel] = CATALOGUE,
) -> ModelFiles:
    """Read every byte of a fetched model and compare it with what was recorded.

    Raises:
        ModelError: the model is absent or damaged.
    """
    model = find_model(name, catalogue=catalogue)
    files = require(name, folder=folder, catalogue=catalogue)
    record = _read_record(files.weights.parent, model=model)
    found = sha256_of(files.weights)
    if found != record.weights_sha256:
        raise _damaged(
            name, f"{files.weights} has sha256 {found}, expected {record.weights_sha256}"
        )
    if model.vocabulary is not None and files.tokenizer is not None:
        try:
            check_file(model.vocabulary, path=files.tokenizer / "vocab.txt")
        except ModelError as error:
            raise _damaged(name, str(error)) from error
    return files


def states(
    *, folder: Path | None = None, catalogue: Mapping[str, OfficialModel] = CATALOGUE
) -> list[ModelState]:
    """Every model of the catalogue and whether it is usable here, judged by sizes alone."""
    found = []
    for model in catalogue.values():
        home = (folder or models_folder()) / model.name
        if not home.is_dir():
            found.append(ModelState(model, "absent"))
            continue
        try:
            require(model.name, folder=folder, catalogue=catalogue)
        except ModelError as error:
            found.append(ModelState(model, "damaged", str(error)))
        else:
            found.append(ModelState(model, "fetched"))
    return found


def fetch(
    name: str,
    *,
    source: str | None = None,
    folder: Path | None = None,
    catalogue: Mapping[str, OfficialModel] = CATALOGUE,
    settings: DownloadSettings = PATIENT,
    report: Report = ignore_progress,
) -> ModelFiles:
    """Bring a model onto this machine; a model that is here and intact is left alone.

    Args:
        name: a name of the catalogue.
        source: the checkpoint as a file or URL, or a folder (a URL ending in ``/``) that holds it
            under its published name; a vocabulary is expected beside it. By default the
            publisher's addresses.
        folder: the models' folder; by default :func:`models_folder`.
        catalogue: the models that exist.
        settings: patience of the download.
        report: told about progress in bytes.

    Raises:
        ModelError: the model cannot be fetched, or what came is not the published model.
        ResourceError: the disk is full or cannot be written.
    """
    model = find_model(name, catalogue=catalogue)
    folder = folder or models_folder()
    with _locked(folder):
        if (folder / name).is_dir():
            with contextlib.suppress(ModelError):
                return verify(name, folder=folder, catalogue=catalogue)
        _check_space(model, folder=folder)

        def bring(file: OfficialFile) -> Path:
            return _bring(
                file, model=model, source=source, folder=folder, settings=settings, report=report
            )

        checkpoint = bring(model.checkpoint)
        vocabulary = bring(model.vocabulary) if model.vocabulary is not None else None
        _install(model, checkpoint=checkpoint, vocabulary=vocabulary, folder=folder, source=source)
        for path in filter(None, (checkpoint, vocabulary)):
            path.unlink(missing_ok=True)
        return require(name, folder=folder, catalogue=catalogue)


def _bring(
    file: OfficialFile,
    *,
    model: OfficialModel,
    source: str | None,
    folder: Path,
    settings: DownloadSettings,
    report: Report,
) -> Path:
    partial = folder / ".partial" / f"{file.sha256[:16]}-{file.name}"
    if source is None:
        download(file, sources=file.urls, partial=partial, settings=settings, report=report)
        return partial
    place = _beside(source, file=file, is_checkpoint=file is model.checkpoint)
    if isinstance(place, Path):
        copy_file(file, source=place, partial=partial)
    else:
        download(file, sources=(place,), partial=partial, settings=settings, report=report)
    return partial


def _beside(source: str, *, file: OfficialFile, is_checkpoint: bool) -> Path | str:
    """Where a file is, given the checkpoint's or the folder's address."""
    address = urllib.parse.urlsplit(source)
    if address.scheme in ("http", "https"):
        if is_checkpoint and not address.path.endswith("/"):
            return source
        folder = address.path.rpartition("/")[0]
        path = f"{folder}/{urllib.parse.quote(file.name)}"
        return urllib.parse.urlunsplit(address._replace(path=path))
    if address.scheme == "file":
        source = urllib.parse.unquote(address.path)
    path_here = Path(source).expanduser()
    if path_here.is_dir():
        return path_here / file.name
    return path_here if is_checkpoint else path_here.with_name(file.name)


def _install(
    model: OfficialModel,
    *,
    checkpoint: Path,
    vocabulary: Path | None,
    folder: Path,
    source: str | None,
) -> None:
    """Convert a proven checkpoint and put the model in place in one step."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{model.name}-") as scratch:
            home = Path(scratch) / "new"
            home.mkdir()
            weights = home / _WEIGHTS
            _convert(model, checkpoint=checkpoint, weights=weights)
            if vocabulary is not None:
                _write_tokenizer(home / _TOKENIZER, vocabulary=vocabulary)
            record = _Record(
                name=model.name,
                sha256=model.checkpoint.sha256,
                weights_sha256=sha256_of(weights),
                weights_bytes=weights.stat().st_size,
                source=source or model.checkpoint.urls[0],
            )
            (home / _RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n")
            _flush(home)
            if (folder / model.name).exists():
                (folder / model.name).rename(Path(scratch) / "old")
            home.rename(folder / model.name)
            _flush_folder(folder)
    except OSError as error:
        raise ResourceError(
            f"Cannot write model {model.name} in {folder}: {error.strerror or error}. Free some "
            "space or set SEGMATTE_MODELS to another folder, then run the same command again."
        ) from error


def _convert(model: OfficialModel, *, checkpoint: Path, weights: Path) -> None:
    """Turn a proven pickle into safetensors with the network's own keys."""
    from safetensors.torch import save_file

    state = {}
    for key, tensor in _read_checkpoint(model, checkpoint=checkpoint).items():
        name = key.removeprefix(model.key_prefix)
        if not name.startswith(model.unused_keys or ("\0",)):
            # Published checkpoints store some tensors once under several keys; safetensors does
            # not, so each key gets a copy.
            state[name] = tensor.detach().clone().contiguous()
    save_file(state, weights, metadata={"model": model.name, "sha256": model.checkpoint.sha256})


def _read_checkpoint(model: OfficialModel, *, checkpoint: Path) -> dict[str, torch.Tensor]:
    import torch

    expected = f"Expected a checkpoint of {model.name}: a dictionary of tensors under 'model'"
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a strange file raises whatever it likes
        raise ModelError(
            f"{expected}, but {checkpoint.name} cannot be read as one without running code from "
            f"it: {str(error).splitlines()[0] if str(error) else error!r}. Fetch the model again."
        ) from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content)
        raise ModelError(f"{expected}, found {found}. Fetch the model again.")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{expected}, found {type(value).__name__} under {key!r}. Fetch the model again."
            )
        if not key.startswith(model.key_prefix):
            raise ModelError(
                f"{expected} with keys beginning {model.key_prefix!r}, found {key!r}. Fetch the "
                "model again."
            )
    return state


def _write_tokenizer(folder: Path, *, vocabulary: Path) -> None:
    """A folder from which transformers builds BERT-base's tokenizer and config, offline."""
    folder.mkdir()
    shutil.copyfile(vocabulary, folder / "vocab.txt")
    words = vocabulary.read_bytes().count(b"\n")
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": words,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": 512,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")


def _read_record(home: Path, *, model: OfficialModel) -> _Record:
    path = home / _RECORD
    try:
        record = _Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(model.name, f"{path} cannot be read ({error})") from error
    if (record.name, record.sha256) != (model.name, model.checkpoint.sha256):
        raise _damaged(
            model.name,
            f"{path} records sha256 {record.sha256} of {record.name}, expected "
            f"{model.checkpoint.sha256}",
        )
    return record


def _damaged(name: str, finding: str) -> ModelError:
    return ModelError(
        f"Model {name} is damaged: {finding}. Fetch it again with `segmatte models fetch {name}`."
    )


def _check_space(model: OfficialModel, *, folder: Path) -> None:
    """The checkpoint and its conversion lie side by side for a moment."""
    needed = 2 * model.checkpoint.size_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"Model {model.name} needs {needed / 1e9:.1f} GB in {folder} while it is fetched, "
            f"found {free / 1e9:.1f} GB free. Free some space or set SEGMATTE_MODELS to another "
            "folder."
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One fetch at a time in a folder; others wait for it and then find its model."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise ResourceError(
            f"Cannot write in the models' folder {folder} ({error.strerror}). Set SEGMATTE_MODELS "
            "to a folder that can be written, or ask its owner to fetch the model."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _flush_folder(path)
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
