"""Bytes in and out: contents uploaded, results downloaded, neither ever whole in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from protos import segmatte_pb2 as wire
from server.errors import InputError, ResultError
from server.jobs.store import ResultFile
from server.jobs.uploads import Arrival, Uploads
from server.service import convert

Count = Callable[[str, int], None]
CHUNK_BYTES = 1 << 20
_READ_BYTES = 4 * CHUNK_BYTES
"""Read at a time: going to a thread for every chunk costs as much as the chunk."""
_CHUNKS_WAITING = 4
"""Of one upload, while those before them are written."""


async def take_in(
    requests: AsyncIterator[Any], uploads: Uploads, user: str, *, count: Count
) -> Any:
    """Receive contents one after the other.

    Args:
        requests: UploadChunks.
        uploads: where they go.
        user: whose they are.
        count: hears of the bytes.

    Returns:
        UploadFramesResponse.

    Raises:
        ServerError: what comes is not what was announced, or cannot be kept.
    """
    answer = wire.UploadFramesResponse()
    message = await anext(requests, None)
    while message is not None:
        if message.WhichOneof("part") != "begin":
            raise InputError("An upload begins with `begin`; data came first.")
        begin = message.begin
        receiving = uploads.receive(
            user,
            convert.sha256_hex(begin.sha256),
            size_bytes=begin.size_bytes,
            offset=begin.offset,
        )
        with receiving as arrival:
            message = await _fill(arrival, requests)
            answer.received_bytes += arrival.received_bytes
            answer.stored += int(arrival.complete)
            count("upload_bytes", arrival.received_bytes)
    return answer


async def _fill(arrival: Arrival, requests: AsyncIterator[Any]) -> Any:
    """Write data as it comes, some chunks while the next ones are on their way.

    Returns:
        The message after the data: the next ``begin``, or None.
    """
    writing: asyncio.Task[None] | None = None
    following: Any = None
    waiting: list[bytes] = []

    async def write() -> None:
        nonlocal writing
        if writing is not None:
            await writing
        writing = asyncio.create_task(asyncio.to_thread(arrival.write, tuple(waiting)))
        waiting.clear()

    try:
        async for message in requests:
            if message.WhichOneof("part") != "data":
                following = message
                break
            data = message.data  # once: every look at it is a copy
            if len(data) > CHUNK_BYTES:
                raise InputError(f"A chunk has at most {CHUNK_BYTES} bytes.")
            waiting.append(data)
            if writing is None or writing.done() or len(waiting) == _CHUNKS_WAITING:
                await write()
        if waiting or writing is None:  # without data: all of it arrived earlier
            await write()
    finally:
        if writing is not None:
            await writing
    return following


async def read_out(
    path: Path, file: ResultFile, *, offset: int, length: int, count: Count
) -> AsyncGenerator[bytes, None]:
    """Bytes of one published file, in chunks.

    Args:
        path: where it lies.
        file: what it is said to be.
        offset: first byte wanted.
        length: bytes wanted; 0: to the end.
        count: hears of the bytes.

    Raises:
        ResultError: the file is gone or is not as long as it was.
    """
    try:
        reading = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise ResultError(f"The result {file.name} is not there any more.") from error
    with reading:
        if os.fstat(reading.fileno()).st_size != file.size_bytes:
            raise ResultError(f"The result {file.name} is damaged on the server.")
        left = file.size_bytes - offset
        left = min(left, length) if length else left
        reading.seek(offset)
        while left > 0:
            data = await asyncio.to_thread(reading.read, min(_READ_BYTES, left))
            if not data:
                raise ResultError(f"The result {file.name} is shorter than it was.")
            left -= len(data)
            count("download_bytes", len(data))
            for start in range(0, len(data), CHUNK_BYTES):
                yield data[start : start + CHUNK_BYTES]
