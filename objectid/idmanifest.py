"""The standard OpenEXR id manifest: encoder and decoder of an ``idmanifest`` attribute.

Payload: u64 size, then zlib of: i32 version 0; all texts once, sorted, each without the bytes it
shares with the one before; an index table that gives frequent texts small numbers; then groups of
channels, each with id → texts. Only what this package needs is written (one group, 32-bit ids as
differences of variable length); everything the OpenEXR library writes is read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LIFETIME_FRAME, LIFETIME_SHOT, LIFETIME_STABLE = 0, 1, 2

_LARGEST_BYTES = 1 << 28
_LARGEST_EXPANSION = 1032
"""More than this zlib cannot do: a payload that claims it is a trap."""


class IdManifestError(ValueError):
    """The payload is malformed; the caller knows the file and tells the user."""


@dataclass(frozen=True)
class ChannelGroup:
    """Ids of one group of channels."""

    channels: tuple[str, ...]
    """Names of the channels that hold the ids."""
    components: tuple[str, ...]
    """What each text of an entry says: ``name``, ``material`` …"""
    table: Mapping[int, tuple[str, ...]]
    """id → one text per component."""
    lifetime: int = LIFETIME_SHOT
    hash_scheme: str = "none"
    encoding_scheme: str = "id"


def encode_id_manifest(group: ChannelGroup) -> bytes:
    """The payload of an ``idmanifest`` attribute with one group."""
    table = group.table
    texts = sorted({text.encode("utf-8") for entry in table.values() for text in entry})
    index = {text: number for number, text in enumerate(texts)}
    runs = struct.pack("<iii", 1, 0, len(texts) - 1) if texts else struct.pack("<i", 0)
    out = [struct.pack("<i", 0), _texts(_without_shared(texts)), runs, struct.pack("<i", 1)]
    out.append(_texts(sorted(name.encode("utf-8") for name in group.channels)))
    out.append(_texts([name.encode("utf-8") for name in group.components]))
    out.append(bytes([group.lifetime]))
    for scheme in (group.hash_scheme, group.encoding_scheme):
        data = scheme.encode("utf-8")
        out += [struct.pack("<I", len(data)), data]
    out.append(b"\2" + struct.pack("<i", len(table)))
    previous = 0
    for number in sorted(table):
        out.append(_variable(number - previous))
        out += [_variable(index[text.encode("utf-8")]) for text in table[number]]
        previous = number
    raw = b"".join(out)
    return struct.pack("<Q", len(raw)) + zlib.compress(raw)


def decode_id_manifest(payload: bytes) -> tuple[ChannelGroup, ...]:
    """The groups of an ``idmanifest`` attribute.

    Raises:
        IdManifestError: the payload is malformed or claims an absurd size.
    """
    if len(payload) < 8:
        raise IdManifestError("it is cut off")
    (size_bytes,) = struct.unpack_from("<Q", payload)
    if size_bytes > min(_LARGEST_BYTES, _LARGEST_EXPANSION * len(payload)):
        raise IdManifestError(f"it claims {size_bytes} bytes")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(payload[8:], size_bytes) if size_bytes else b""
        more = b"" if inflate.eof else inflate.decompress(inflate.unconsumed_tail, 1)
    except zlib.error as error:
        raise IdManifestError(f"it cannot be inflated ({error})") from error
    if len(raw) != size_bytes or more:
        raise IdManifestError(f"it has another size than the {size_bytes} bytes it states")
    source = _Source(raw)
    if source.int32() != 0:
        raise IdManifestError("its version is unknown")
    texts = _with_shared(source.texts())
    order = _text_order(source, len(texts))
    return tuple(_group(source, texts, order) for _ in range(source.count(1)))


def _group(source: _Source, texts: Sequence[bytes], order: Sequence[int]) -> ChannelGroup:
    channels = tuple(map(_text, source.texts()))
    components = tuple(map(_text, source.texts()))
    lifetime = source.take(1)[0]
    hash_scheme = _text(source.take(source.uint32()))
    encoding_scheme = _text(source.take(source.uint32()))
    storage = source.take(1)[0]
    table: dict[int, tuple[str, ...]] = {}
    number = 0
    for _ in range(source.count(1)):
        if storage == 0:
            number += source.uint64()
        elif storage == 1:
            number += source.uint32()
        else:
            number += source.variable()
        if number in table:
            raise IdManifestError(f"id {number} stands in it twice")
        entry = []
        for _ in components:
            index = source.variable()
            if index >= len(order):
                raise IdManifestError(f"id {number} refers to text {index} of {len(order)}")
            entry.append(_text(texts[order[index]]))
        table[number] = tuple(entry)
    return ChannelGroup(channels, components, table, lifetime, hash_scheme, encoding_scheme)


def _text_order(source: _Source, texts: int) -> list[int]:
    order: list[int] = []
    seen = bytearray(texts)
    for _ in range(source.count(8)):
        first, last = source.int32(), source.int32()
        if not 0 <= first <= last < texts:
            raise IdManifestError("its table of texts is inconsistent")
        if len(order) == texts:
            break
        for number in range(first, last + 1):
            if not seen[number]:
                seen[number] = 1
                order.append(number)
    return order


def _without_shared(texts: Sequence[bytes]) -> list[bytes]:
    out = list(texts[:1])
    for before, text in zip(texts, texts[1:]):
        shared, limit = 0, min(0xFFFF if len(before) > 255 else 255, len(before), len(text))
        while shared < limit and before[shared] == text[shared]:
            shared += 1
        out.append(shared.to_bytes(2 if len(before) > 255 else 1, "big") + text[shared:])
    return out


def _with_shared(parts: Sequence[bytes]) -> list[bytes]:
    texts = list(parts[:1])
    size_bytes = 0
    for part in parts[1:]:
        before = texts[-1]
        prefix = 2 if len(before) > 255 else 1
        shared = int.from_bytes(part[:prefix], "big")
        if len(part) < prefix or shared > len(before):
            raise IdManifestError("a text shares more with the one before than there is")
        texts.append(before[:shared] + part[prefix:])
        size_bytes += len(texts[-1])
        if size_bytes > _LARGEST_BYTES:
            raise IdManifestError(f"its texts have more than {_LARGEST_BYTES} bytes")
    return texts


def _texts(texts: Sequence[bytes]) -> bytes:
    lengths = b"".join(_variable(len(text)) for text in texts)
    return struct.pack("<i", len(texts)) + lengths + b"".join(texts)


def _variable(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


class _Source:
    """Bytes read from front to back, never past the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, length: int) -> bytes:
        start, end = self._position, self._position + length
        if end > len(self._data):
            raise IdManifestError("it is cut off")
        self._position = end
        return self._data[start:end]

    def int32(self) -> int:
        value: int = struct.unpack("<i", self.take(4))[0]
        return value

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def uint64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def count(self, least_bytes: int) -> int:
        """A number of things that each need so many bytes of what is left."""
        number = self.int32()
        if number < 0 or number * least_bytes > len(self._data) - self._position:
            raise IdManifestError(f"it claims {number} entries")
        return number

    def variable(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise IdManifestError("a number in it does not end")

    def texts(self) -> list[bytes]:
        lengths = [self.variable() for _ in range(self.count(1))]
        return [self.take(length) for length in lengths]
