import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from server.errors import ModelError, ResourceError
from server.models import store
from server.models.catalogue import CATALOGUE, find_model
from server.progress import Progress
from tests.unit.models_store.publisher import (
    IMPATIENT,
    Misbehaviour,
    Publisher,
    checkpoint,
    official_file,
    official_model,
)

CONTENT = checkpoint()
SIZE = len(CONTENT)


def fetched_from(folder: Path, *misbehaviour: Misbehaviour) -> tuple[Publisher, store.ModelFiles]:
    """Fetch the model ``tiny`` from one publisher with the default attempts."""
    with Publisher({"tiny.pt": CONTENT}, *misbehaviour) as publisher:
        model = official_model(CONTENT, f"{publisher.address}tiny.pt")
        files = store.fetch("tiny", folder=folder, catalogue={"tiny": model}, settings=IMPATIENT)
    return publisher, files


def test_a_fetched_model_is_safetensors_with_the_networks_keys(tmp_path):
    publisher, files = fetched_from(tmp_path)
    state = load_file(files.weights)
    expected = torch.load(io.BytesIO(CONTENT), weights_only=True)["model"]
    assert {key: value.tolist() for key, value in state.items()} == {
        key: value.tolist() for key, value in expected.items()
    }
    assert files.sha256 == official_model(CONTENT).checkpoint.sha256
    assert files.config == "configs/tiny.yaml"
    assert files.tokenizer is None
    assert publisher.requests == [("/tiny.pt", "")]
    # Nothing that could carry code stays, and no scratch folder.
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        ".lock",
        "model.json",
        "weights.safetensors",
    ]


def test_a_connection_that_breaks_off_is_continued_where_it_ended(tmp_path):
    publisher, _ = fetched_from(
        tmp_path, Misbehaviour(ends_after=1000), Misbehaviour(ends_after=50_000)
    )
    assert [asked for _, asked in publisher.requests] == ["", "bytes=1000-", "bytes=51000-"]


def test_a_server_that_stalls_is_left_and_asked_again(tmp_path):
    publisher, _ = fetched_from(
        tmp_path, Misbehaviour(stalls_after=0), Misbehaviour(stalls_after=4000)
    )
    assert [asked for _, asked in publisher.requests] == ["", "", "bytes=4000-"]


def test_a_server_without_ranges_starts_over(tmp_path):
    publisher, _ = fetched_from(
        tmp_path, Misbehaviour(ends_after=1000), Misbehaviour(ignores_range=True)
    )
    assert len(publisher.requests) == 2


def test_a_busy_server_is_asked_again(tmp_path):
    publisher, _ = fetched_from(tmp_path, Misbehaviour(status=503), Misbehaviour(status=429))
    assert len(publisher.requests) == 3


def test_a_later_run_goes_on_with_what_an_earlier_one_left(tmp_path):
    dying = [Misbehaviour(ends_after=20_000)] + [Misbehaviour(ends_after=0)] * 3
    with pytest.raises(ModelError) as caught:
        fetched_from(tmp_path, *dying)
    message = str(caught.value)
    assert f"20000 of {SIZE} bytes are here and kept" in message
    assert "3 times without a new byte" in message
    assert "--from FILE" in message
    publisher, _ = fetched_from(tmp_path)
    assert publisher.requests == [("/tiny.pt", "bytes=20000-")]


def test_damage_on_the_way_is_refused_before_anything_opens_the_file(tmp_path):
    with pytest.raises(ModelError, match=r"Expected tiny\.pt with sha256 .* nothing was opened"):
        fetched_from(tmp_path, Misbehaviour(flips_byte=SIZE // 2))
    assert not (tmp_path / "tiny").exists()
    fetched_from(tmp_path)  # and the damaged file does not stand in the way


def test_damage_in_an_earlier_part_is_repaired_by_starting_over_once(tmp_path):
    with pytest.raises(ModelError):
        fetched_from(
            tmp_path,
            Misbehaviour(flips_byte=5, ends_after=20_000),
            *[Misbehaviour(ends_after=0)] * 3,
        )
    publisher, _ = fetched_from(tmp_path)
    assert [asked for _, asked in publisher.requests] == ["bytes=20000-", ""]


def test_a_publisher_that_lacks_the_file_is_left_for_the_next(tmp_path):
    with Publisher({}) as empty, Publisher({"tiny.pt": CONTENT}) as full:
        model = official_model(CONTENT, f"{empty.address}tiny.pt", f"{full.address}tiny.pt")
        store.fetch("tiny", folder=tmp_path, catalogue={"tiny": model}, settings=IMPATIENT)
        assert len(empty.requests) == 1
        assert len(full.requests) == 1


def test_every_publisher_that_failed_is_named_with_its_reason(tmp_path):
    with Publisher({}) as empty, Publisher({"tiny.pt": CONTENT[:-1]}) as shorter:
        model = official_model(CONTENT, f"{empty.address}tiny.pt", f"{shorter.address}tiny.pt")
        with pytest.raises(ModelError) as caught:
            store.fetch("tiny", folder=tmp_path, catalogue={"tiny": model}, settings=IMPATIENT)
    assert f"{empty.address}tiny.pt: HTTP 404" in str(caught.value)
    assert f"has a file of {SIZE - 1} bytes, expected {SIZE}" in str(caught.value)


def test_an_answer_for_another_part_is_not_used(tmp_path):
    with pytest.raises(ModelError, match="answers another range than asked for"):
        fetched_from(tmp_path, Misbehaviour(ends_after=1000), Misbehaviour(wrong_offset=True))


def test_nobody_at_the_address_is_said_so(tmp_path):
    with Publisher({}) as gone:
        address = f"{gone.address}tiny.pt"
    model = official_model(CONTENT, address)
    with pytest.raises(ModelError, match="no connection"):
        store.fetch("tiny", folder=tmp_path, catalogue={"tiny": model}, settings=IMPATIENT)


def test_progress_counts_bytes_and_ends_complete(tmp_path):
    seen: list[Progress] = []
    with Publisher({"tiny.pt": CONTENT}, Misbehaviour(ends_after=1000)) as publisher:
        model = official_model(CONTENT, f"{publisher.address}tiny.pt")
        store.fetch(
            "tiny",
            folder=tmp_path,
            catalogue={"tiny": model},
            settings=IMPATIENT,
            report=seen.append,
        )
    assert seen[0].done == 0
    assert seen[-1].done == seen[-1].total == SIZE
    assert [report.done for report in seen] == sorted(report.done for report in seen)
    assert {report.unit for report in seen} == {"byte"}


def fetch_from(source: object, folder: Path) -> store.ModelFiles:
    model = official_model(CONTENT, "http://127.0.0.1:1/never-asked")
    return store.fetch("tiny", source=str(source), folder=folder, catalogue={"tiny": model})


def test_a_model_comes_from_a_file_a_folder_or_another_address(tmp_path):
    (tmp_path / "brought").mkdir()
    brought = tmp_path / "brought" / "tiny.pt"
    brought.write_bytes(CONTENT)
    renamed = tmp_path / "brought" / "copy of tiny"
    renamed.write_bytes(CONTENT)
    sources: list[object] = [brought, brought.parent, brought.as_uri(), renamed]
    for number, source in enumerate(sources):
        files = fetch_from(source, tmp_path / f"models{number}")
        assert files.weights.is_file()
    with Publisher({"tiny.pt": CONTENT}) as mirror:
        fetch_from(f"{mirror.address}tiny.pt", tmp_path / "models-url")
        fetch_from(mirror.address, tmp_path / "models-url-folder")
    assert brought.read_bytes() == CONTENT


def test_a_wrong_file_is_refused_unopened(tmp_path):
    wrong = tmp_path / "tiny.pt"
    wrong.write_bytes(CONTENT[:-10])
    with pytest.raises(ModelError, match=rf"with {SIZE} bytes, found {SIZE - 10} bytes in"):
        fetch_from(wrong, tmp_path / "models")
    wrong.write_bytes(bytes(SIZE))
    with pytest.raises(ModelError, match=r"with sha256 .* nothing was opened"):
        fetch_from(wrong, tmp_path / "models")
    with pytest.raises(ModelError, match="found no such file"):
        fetch_from(tmp_path / "nothing.pt", tmp_path / "models")
    assert wrong.is_file()


def test_a_model_with_a_vocabulary_gets_a_tokenizer_folder(tmp_path):
    words = b"\n".join(b"[PAD] [UNK] [CLS] [SEP] [MASK] . person car".split()) + b"\n"
    state = {"a": torch.zeros(3), "label_enc.weight": torch.zeros(2)}
    content = checkpoint(state, prefix="module.")
    (tmp_path / "tiny.pt").write_bytes(content)
    (tmp_path / "vocab.txt").write_bytes(words)
    model = official_model(content, vocabulary=official_file("vocab.txt", words), prefix="module.")
    catalogue = {"tiny": model}
    files = store.fetch(
        "tiny", source=str(tmp_path / "tiny.pt"), folder=tmp_path / "m", catalogue=catalogue
    )
    assert list(load_file(files.weights)) == ["a"]
    assert files.tokenizer is not None
    assert json.loads((files.tokenizer / "config.json").read_text())["vocab_size"] == 8

    from transformers import AutoTokenizer, BertConfig

    tokenizer = AutoTokenizer.from_pretrained(str(files.tokenizer), local_files_only=True)
    assert tokenizer("Person . car")["input_ids"] == [2, 6, 5, 7, 3]
    assert BertConfig.from_pretrained(str(files.tokenizer)).hidden_size == 768

    (files.tokenizer / "vocab.txt").write_bytes(words[::-1])
    with pytest.raises(ModelError, match="damaged"):
        store.verify("tiny", folder=tmp_path / "m", catalogue=catalogue)
    (files.tokenizer / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=r"vocab\.txt is missing"):
        store.require("tiny", folder=tmp_path / "m", catalogue=catalogue)


class Hostile:
    """Pickles as a call of a function: what must never run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (os.mkdir, (self._path,))


def test_code_inside_a_checkpoint_is_not_run(tmp_path):
    content = checkpoint(extra=Hostile(tmp_path / "was run"))
    (tmp_path / "tiny.pt").write_bytes(content)
    catalogue = {"tiny": official_model(content)}
    with pytest.raises(ModelError, match="without running code from it"):
        store.fetch("tiny", source=str(tmp_path), folder=tmp_path / "m", catalogue=catalogue)
    assert not (tmp_path / "was run").exists()
    torch.load(io.BytesIO(content), weights_only=False)  # it would have
    assert (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"no pickle at all" * 10, "without running code from it"),
        (checkpoint({}), "under 'model', found"),
        (checkpoint({"a": 1.0}), "found float under 'a'"),
        (checkpoint({"a": torch.zeros(1)}), "keys beginning 'module.', found 'a'"),
    ],
)
def test_a_file_of_another_layout_is_an_error_and_leaves_no_model(tmp_path, content, finding):
    (tmp_path / "tiny.pt").write_bytes(content)
    model = official_model(content, prefix="module." if "module." in finding else "")
    with pytest.raises(ModelError) as caught:
        store.fetch(
            "tiny",
            source=str(tmp_path / "tiny.pt"),
            folder=tmp_path / "m",
            catalogue={"tiny": model},
        )
    assert finding in str(caught.value)
    assert "Expected a checkpoint of tiny" in str(caught.value)
    assert not (tmp_path / "m" / "tiny").exists()


def test_tensors_stored_once_under_two_keys_are_both_there(tmp_path):
    shared = torch.arange(6.0)
    content = checkpoint({"a": shared, "b": shared, "c": shared.view(2, 3)})
    (tmp_path / "tiny.pt").write_bytes(content)
    files = store.fetch(
        "tiny",
        source=str(tmp_path),
        folder=tmp_path / "m",
        catalogue={"tiny": official_model(content)},
    )
    state = load_file(files.weights)
    assert sorted(state) == ["a", "b", "c"]
    assert torch.equal(state["b"], shared)


def test_an_absent_model_names_the_command_and_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMATTE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"`segmatte models fetch sam2\.1-large`"):
        store.require("sam2.1-large")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_lists_near_names():
    with pytest.raises(ModelError, match=r"Near names: sam2\.1-large"):
        store.require("sam2-large")


def test_damage_on_disk_is_found_and_cured_by_fetching_again(tmp_path):
    _, files = fetched_from(tmp_path)
    catalogue = {"tiny": official_model(CONTENT)}
    store.verify("tiny", folder=tmp_path, catalogue=catalogue)
    assert [entry.state for entry in store.states(folder=tmp_path, catalogue=catalogue)] == [
        "fetched"
    ]

    content = bytearray(files.weights.read_bytes())
    content[-1] ^= 1
    files.weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"Model tiny is damaged: .* `segmatte models fetch tiny`"):
        store.verify("tiny", folder=tmp_path, catalogue=catalogue)
    files.weights.write_bytes(content[:-1])
    with pytest.raises(ModelError, match="Model tiny is damaged"):
        store.require("tiny", folder=tmp_path, catalogue=catalogue)
    assert store.states(folder=tmp_path, catalogue=catalogue)[0].state == "damaged"

    publisher, _ = fetched_from(tmp_path)
    assert len(publisher.requests) == 1
    store.verify("tiny", folder=tmp_path, catalogue=catalogue)


def test_a_record_that_is_broken_or_of_another_model_is_damage(tmp_path):
    _, files = fetched_from(tmp_path)
    record = files.weights.with_name("model.json")
    written = record.read_text()
    for broken in ("", "{}", written.replace('"tiny"', '"large"')):
        record.write_text(broken)
        with pytest.raises(ModelError, match="Model tiny is damaged"):
            store.require("tiny", folder=tmp_path, catalogue={"tiny": official_model(CONTENT)})


def test_an_intact_model_is_not_fetched_again(tmp_path):
    fetched_from(tmp_path)
    publisher, _ = fetched_from(tmp_path)
    assert publisher.requests == []


def test_a_folder_that_cannot_be_written_says_which_setting_helps(tmp_path):
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match="SEGMATTE_MODELS"):
        fetch_from(tmp_path, tmp_path / "models")


def test_a_disk_too_small_is_said_before_the_download(tmp_path):
    model = official_model(CONTENT, "http://127.0.0.1:1/never-asked")
    huge = replace(model, checkpoint=replace(model.checkpoint, size_bytes=10**18))
    with pytest.raises(ResourceError, match="GB free"):
        store.fetch("tiny", folder=tmp_path, catalogue={"tiny": huge})


def test_the_catalogue_is_complete_and_consistent():
    assert list(CATALOGUE) == [
        "groundingdino-swin-t",
        "groundingdino-swin-b",
        "sam2.1-tiny",
        "sam2.1-small",
        "sam2.1-base-plus",
        "sam2.1-large",
    ]
    for name, model in CATALOGUE.items():
        assert model.name == name
        assert model.licence == "Apache-2.0"
        for file in filter(None, (model.checkpoint, model.vocabulary)):
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.size_bytes > 0
            assert all(url.startswith("https://") for url in file.urls)
            assert all(url.endswith(f"/{file.name}") for url in file.urls)
        assert (model.vocabulary is not None) == (model.family == "groundingdino")
    assert len({model.checkpoint.sha256 for model in CATALOGUE.values()}) == len(CATALOGUE)
    assert find_model("sam2.1-tiny").config == "configs/sam2.1/sam2.1_hiera_t.yaml"


def test_the_architectures_named_in_the_catalogue_exist_in_their_packages():
    import importlib.util

    sam2 = importlib.util.find_spec("sam2")
    assert sam2 is not None
    assert sam2.submodule_search_locations is not None
    folder = Path(next(iter(sam2.submodule_search_locations)))
    for model in CATALOGUE.values():
        if model.family == "sam2":
            assert (folder / model.config).is_file()
        else:
            assert importlib.util.find_spec(f"groundingdino.config.{model.config}") is not None
