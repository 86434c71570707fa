"""Make the committed stubs anew: ``python protos/regenerate.py`` from the repository's root.

Stubs load on the protobuf that made them and on later ones, never on earlier ones. They are
therefore made by an old, pinned generator, in a virtual environment of its own that is thrown
away, and committed. Never edit them by hand.

``released.json`` holds the interface of the last release. What is in it may not change any more;
``--release`` brings it up to the present state when a version is published.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

GENERATOR = ("grpcio-tools==1.71.0", "protobuf==5.29.6", "setuptools==80.9.0")
STUBS = ("segmatte_pb2.py", "segmatte_pb2.pyi", "segmatte_pb2_grpc.py")
ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "protos" / "released.json"


def generate(python: Path, out: Path) -> None:
    """Write the stubs into ``out/protos``.

    Args:
        python: of an environment that holds the pinned generator.
        out: an existing folder.

    Raises:
        subprocess.CalledProcessError: the proto file is wrong; protoc has said where.
    """
    arguments = ["-I.", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    subprocess.run(
        [python, "-m", "grpc_tools.protoc", *arguments, "protos/segmatte.proto"],
        cwd=ROOT,
        check=True,
    )


def install_generator(folder: Path) -> Path:
    """Make an environment with the pinned generator and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *GENERATOR], check=True)
    return python


def interface() -> dict[str, str]:
    """The present interface, one entry per call, field and enum value, as the wire sees it."""
    from google.protobuf import descriptor_pb2

    from protos import segmatte_pb2

    file = descriptor_pb2.FileDescriptorProto()
    segmatte_pb2.DESCRIPTOR.CopyToProto(file)
    entries: dict[str, str] = {}

    def add_enum(place: str, enum: descriptor_pb2.EnumDescriptorProto) -> None:
        for value in enum.value:
            entries[f"{place}{enum.name}#{value.number}"] = value.name

    def add_message(place: str, message: descriptor_pb2.DescriptorProto) -> None:
        inside = f"{place}{message.name}."
        for field in message.field:
            kind = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
            label = descriptor_pb2.FieldDescriptorProto.Label.Name(field.label)
            one_of = (
                f" in {message.oneof_decl[field.oneof_index].name}"
                if (field.HasField("oneof_index"))
                else ""
            )
            text = f"{field.name}: {label} {kind} {field.type_name}".strip() + one_of
            entries[f"{inside}#{field.number}"] = text
        for nested in message.nested_type:
            add_message(inside, nested)
        for enum in message.enum_type:
            add_enum(inside, enum)

    for message in file.message_type:
        add_message("", message)
    for enum in file.enum_type:
        add_enum("", enum)
    for service in file.service:
        for call in service.method:
            sent = f"{'stream ' * call.client_streaming}{call.input_type}"
            got = f"{'stream ' * call.server_streaming}{call.output_type}"
            entries[f"{service.name}.{call.name}()"] = f"{sent} -> {got}"
    return entries


def broken_promises(released: dict[str, str], present: dict[str, str]) -> list[str]:
    """What old clients or servers would no longer understand, one sentence each."""
    return [
        f"{place} was released as {text!r}, now {present.get(place, 'gone')!r}. Add a new number "
        "instead."
        for place, text in sorted(released.items())
        if present.get(place) != text
    ]


def main() -> int:
    """Regenerate in place."""
    parser = argparse.ArgumentParser(description="Make the committed gRPC stubs anew.")
    parser.add_argument("--python", type=Path, help="of an environment with the pinned generator")
    parser.add_argument(
        "--release", action="store_true", help="record the present interface as released"
    )
    arguments = parser.parse_args()
    if arguments.release:
        RELEASED.write_text(json.dumps(interface(), indent=1, sort_keys=True) + "\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.python or install_generator(Path(folder))
        generate(python, ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
