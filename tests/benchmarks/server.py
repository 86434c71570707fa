"""``python -m tests.benchmarks.server --json``: what the server costs, beside bare gRPC.

Transfers are measured in turns with bare gRPC streams of the same chunks on the same machine, each
after the disk has come to rest: ratios say more than seconds on a machine with other work. A bare
stream moves bytes from memory to nowhere; ours reads, checks and keeps files.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from client.library import Client
from protos import segmatte_pb2 as wire
from server.jobs.store import NewJob, Store
from tests.benchmarks.measure import Part, Size, Spread, Table, main, timed
from tests.flat_plates import write_flat_plate
from tests.system.serving import RunningServer, request

TITLE = "Server"
GOAL = 0.6
CHUNK = 1 << 20
FRAME_CHUNKS = 4
MEBIBYTES: dict[Size, int] = {"quick": 16, "usual": 128, "full": 256}
ROUNDS: dict[Size, int] = {"quick": 2, "usual": 11, "full": 21}
WATCHERS: dict[Size, int] = {"quick": 20, "usual": 200, "full": 200}
QUEUED: dict[Size, int] = {"quick": 50, "usual": 1000, "full": 1000}
EXR = b"\x76\x2f\x31\x01"

_BARE_SERVER = """
import os, sys, tempfile, grpc
from concurrent import futures
def up(requests, context):
    for _ in requests: pass
    return b""
def keep(requests, context):
    with tempfile.NamedTemporaryFile(dir=sys.argv[1], buffering=0, delete=False) as file:
        for data in requests: file.write(data)
        os.fsync(file.fileno())
    return b""
def down(request, context):
    data = bytes(1 << 20)
    for _ in range(int(request)): yield data
handlers = grpc.method_handlers_generic_handler("b", {
    "up": grpc.stream_unary_rpc_method_handler(up),
    "keep": grpc.stream_unary_rpc_method_handler(keep),
    "down": grpc.unary_stream_rpc_method_handler(down)})
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((handlers,))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start(); sys.stdin.read()
"""


@dataclass
class Measured:
    """Wall and CPU seconds, the latter of client and server together, of repeated work."""

    pid: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> None:
        """Once more, beginning with a disk at rest."""
        os.sync()
        cpu, begun = self._cpu(), time.perf_counter()
        work()
        self.seconds.append(time.perf_counter() - begun)
        self.cpu_seconds.append(self._cpu() - cpu)

    def share_of(self, other: Measured) -> Spread:
        """Another's time divided by ours, turn by turn; the first turn warms up."""
        pairs = zip(other.seconds[1:], self.seconds[1:], strict=True)
        return Spread.of([theirs / ours for theirs, ours in pairs])

    def cpu_share_of(self, other: Measured) -> float:
        """The same for CPU time, of medians: a clock of hundredths is too coarse for turns."""
        theirs, ours = Spread.of(other.cpu_seconds[1:]), Spread.of(self.cpu_seconds[1:])
        return theirs.median / ours.median

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def bare_server(folder: Path) -> Iterator[tuple[int, grpc.Channel]]:
    """A server of bare chunks in another process; its pid and a channel to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BARE_SERVER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            yield process.pid, channel
    finally:
        process.communicate("")


def transfers(
    server: RunningServer, folder: Path, mebibytes: int, *, rounds: int
) -> tuple[dict[str, Measured], int]:
    """Ours and bare in turns, so that other work hits all alike.

    Returns:
        What was measured by name, and the bytes a second upload of the same moved.
    """
    with server.client() as client, bare_server(folder) as (bare_pid, channel):
        up, keep = channel.stream_unary("/b/up"), channel.stream_unary("/b/keep")
        down = channel.unary_stream("/b/down")
        data = bytes(CHUNK)
        job_id = client.wait(client.submit(request(write_flat_plate(folder, frames=2))).id).id
        asked = wire.DownloadResultRequest(
            job_id=job_id, name=_plant(server, job_id, mebibytes * CHUNK)
        )
        bare: dict[str, Callable[[], object]] = {
            "bare upload": lambda: up(data for _ in range(mebibytes)),
            "bare upload, written and synced": lambda: keep(data for _ in range(mebibytes)),
            "bare download": lambda: _drain(down(str(mebibytes).encode())),
        }
        found = {name: Measured(bare_pid) for name in bare}
        for name in ("one file", "one file, on disk", "frames", "frames, on disk", "download"):
            found[name] = Measured(server.process.pid)
        again = 0
        for _ in range(rounds + 1):
            for name, work in bare.items():
                found[name].run(work)
            for name, chunks in (("one file", mebibytes), ("frames", FRAME_CHUNKS)):
                contents = _write_files(folder, mebibytes // chunks, size=chunks * CHUNK)
                found[name].run(functools.partial(client.upload, contents))
                waited = _until_on_disk(server, contents)
                found[f"{name}, on disk"].seconds.append(found[name].seconds[-1] + waited)
                again += client.upload(contents)
                for path in contents.values():
                    path.unlink()
            found["download"].run(
                lambda: _drain(client.connection.stream(client._stub.DownloadResult, asked))
            )
        return found, again


def _drain(messages: Iterable[object]) -> None:
    for _ in messages:
        pass


def _write_files(folder: Path, count: int, *, size: int) -> dict[bytes, Path]:
    """New files that begin like pictures; sha256 → file."""
    contents = {}
    for number in range(count):
        data = EXR + os.urandom(size - len(EXR))
        path = folder / f"{number}.exr"
        path.write_bytes(data)
        contents[hashlib.sha256(data).digest()] = path
    return contents


def _until_on_disk(server: RunningServer, contents: Mapping[bytes, Path]) -> float:
    """Seconds until all have their names, which they get once they are synced."""
    begun = time.perf_counter()
    (user,) = (server.state / "uploads").iterdir()
    for sha256 in contents:
        while not (user / sha256.hex()[:2] / sha256.hex()).exists():
            time.sleep(0.001)
    return time.perf_counter() - begun


def unavoidable(folder: Path, mebibytes: int) -> tuple[float, float]:
    """CPU milliseconds per MiB of hashing, and of writing a new file."""
    data, digest = os.urandom(CHUNK), hashlib.sha256()
    with timed() as hashing:
        for _ in range(mebibytes):
            digest.update(data)
    with timed() as writing, (folder / "new.bin").open("wb", buffering=0) as file:
        for _ in range(mebibytes):
            file.write(data)
    return 1000 * hashing.cpu / mebibytes, 1000 * writing.cpu / mebibytes


def _plant(server: RunningServer, job_id: str, size: int) -> str:
    """A large result, put where results lie."""
    data = os.urandom(size)
    (server.state / "jobs" / job_id / "result" / "big.bin").write_bytes(data)
    with contextlib.closing(sqlite3.connect(server.state / "jobs.sqlite")) as db:
        db.execute(
            "INSERT INTO file VALUES (?,?,?,?,NULL,1)",
            (job_id, "big.bin", len(data), hashlib.sha256(data).digest()),
        )
        db.commit()
    return "big.bin"


def latency(client: Client, job_id: str, *, calls: int = 200) -> Spread:
    """Milliseconds of single GetJob calls."""
    found = []
    for _ in range(calls):
        begun = time.perf_counter()
        client.job(job_id)
        found.append(1000 * (time.perf_counter() - begun))
    return Spread.of(found)


def beside_watchers(
    server: RunningServer, plate: Path, watchers: int
) -> tuple[Spread, Spread, int]:
    """GetJob alone, beside watchers of a job that runs, and how many really watched."""
    with server.client() as client:
        job = client.submit(request(plate))
        alone = latency(client, job.id)
        clients = [server.client() for _ in range(8)]
        pool = futures.ThreadPoolExecutor(watchers)
        watching = set()
        seen = threading.Event()

        def follow(one: Client, number: int) -> None:
            with contextlib.suppress(Exception):
                for _ in one.watch(job.id):
                    watching.add(number)
                    if len(watching) == watchers:
                        seen.set()

        for number in range(watchers):
            pool.submit(follow, clients[number % len(clients)], number)
        seen.wait(60)
        crowded, count = latency(client, job.id), len(watching)
        client.cancel(job.id)
        for one in clients:
            one.close()
        pool.shutdown()
    return alone, crowded, count


def resident_mebibytes(pid: int) -> float:
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status names no memory")


@dataclass(frozen=True)
class Queue:
    """What many queued jobs cost."""

    before_mebibytes: float
    after_mebibytes: float
    listed: int
    list_seconds: float


def queue(server: RunningServer, jobs: int) -> Queue:
    """Server memory before and after many queued jobs of 1,000 frames, all listed once."""
    store = Store(server.state / "jobs.sqlite")
    store.drain(True)
    with server.client() as client:
        client.jobs()
        before = resident_mebibytes(server.process.pid)
        frames = [[n, hashlib.sha256(str(n).encode()).hexdigest(), "png"] for n in range(1000)]
        plate = {"name": "p.####.png", "frames": frames, "format": None, "window": None}
        text = json.dumps({"plate": plate})
        for _ in range(jobs):
            store.submit(NewJob(owner="many", kind="shot", request=text, title={"plate": "p"}))
        begun = time.perf_counter()
        listed = len(client.jobs(limit=jobs))
        seconds = time.perf_counter() - begun
        after = resident_mebibytes(server.process.pid)
    store.close()
    return Queue(before, after, listed, seconds)


def transfer_table(
    found: Mapping[str, Measured], mebibytes: int, *, rounds: int, alone: tuple[float, float]
) -> Table:
    """All sides, their seconds, what they cost, and their shares of the bare ones."""
    synced = "bare upload, written and synced"
    compared = {
        synced: ("bare upload", ""),
        "one file": ("bare upload", synced),
        "one file, on disk": ("bare upload", synced),
        "frames": ("bare upload", synced),
        "frames, on disk": ("bare upload", synced),
        "download": ("bare download", ""),
    }
    names = {
        "one file": "upload of one file",
        "one file, on disk": "… until it is on disk",
        "frames": f"upload of {mebibytes // FRAME_CHUNKS} files",
        "frames, on disk": "… until they are on disk",
    }
    rows = []
    for name, measured in found.items():
        bare, kept = compared.get(name, ("", ""))
        spent = [1000 * seconds / mebibytes for seconds in measured.cpu_seconds[1:]]
        rows.append(
            (
                names.get(name, name),
                Spread.of(measured.seconds[1:]),
                f"{measured.share_of(found[bare]).median:.2f}" if bare else "",
                f"{measured.share_of(found[kept]).median:.2f}" if kept else "",
                f"{Spread.of(spent).median:.1f}" if spent else "",
            )
        )
    return Table(
        f"{mebibytes} MiB in chunks of 1 MiB, {rounds} rounds in turns",
        ("side", "wall s", "share of bare", "share of written and synced", "CPU ms / MiB"),
        tuple((name, str(wall), *rest) for name, wall, *rest in rows),
        (
            "Bare: one gRPC stream of a buffer that is in memory, thrown away where it arrives. "
            "Written and synced: the same, every chunk written to a new file, synced at the end. "
            "Ours reads files, asks what is missing, and hashes, checks and writes on the server; "
            "it is answered when all bytes are checked, and a job that needs them is taken in when "
            "they are on disk. Share: the bare side's time divided by ours, median of the rounds. "
            "CPU: client and server together. Every turn begins with a disk at rest.",
            f"Alone, hashing takes {alone[0]:.1f} ms of CPU per MiB here, and writing a new file "
            f"{alone[1]:.1f} ms: what a checked, kept upload cannot do without.",
        ),
    )


def run(size: Size) -> Part:
    """Transfers, then many watchers, then a long queue."""
    mebibytes, rounds = MEBIBYTES[size], ROUNDS[size]
    settings = "[limits]\nstreams = 1000\nqueued_jobs = 100000"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = write_flat_plate(folder / "slow", frames=40)
        environment = {"STEP_SECONDS": "0.25"}
        with RunningServer(folder / "state", settings=settings, environment=environment) as server:
            found, again = transfers(server, folder, mebibytes, rounds=rounds)
            alone, crowded, watching = beside_watchers(server, plate, WATCHERS[size])
            many = queue(server, QUEUED[size])
        hashing_and_writing = unavoidable(folder, mebibytes)
    bare, synced = found["bare upload"], found["bare upload, written and synced"]
    up, kept = found["one file"].share_of(bare).median, found["one file"].share_of(synced).median
    frames = found["frames"].share_of(bare).median
    down = found["download"].share_of(found["bare download"]).median
    grown = many.after_mebibytes - many.before_mebibytes
    return Part(
        TITLE,
        (
            f"Upload: {up:.2f} of the speed of a bare gRPC stream that throws the bytes away "
            f"(goal {GOAL}: {_verdict(up >= GOAL)}), {frames:.2f} in files of {FRAME_CHUNKS} MiB; "
            f"{kept:.2f} of one that writes and syncs them. In CPU time: "
            f"{found['one file'].cpu_share_of(bare):.2f} and "
            f"{found['one file'].cpu_share_of(synced):.2f}.",
            f"Download: {down:.2f} of a bare gRPC stream (goal {GOAL}: {_verdict(down >= GOAL)}), "
            f"in CPU time {found['download'].cpu_share_of(found['bare download']):.2f}.",
            f"A second upload of the same moves {again} bytes (goal 0: {_verdict(again == 0)}).",
            f"One job is told in {alone.median:.1f} ms alone, {crowded.median:.1f} ms beside "
            f"{watching} watchers.",
            f"{many.listed} queued jobs of 1000 frames take {grown:.0f} MiB of the server.",
        ),
        (
            transfer_table(found, mebibytes, rounds=rounds, alone=hashing_and_writing),
            Table(
                "Many callers, many jobs",
                ("what", "found"),
                (
                    ("GetJob alone, ms", str(alone)),
                    (f"GetJob beside {watching} watchers of a running job, ms", str(crowded)),
                    ("server with an empty queue, MiB", f"{many.before_mebibytes:.0f}"),
                    (f"with {many.listed} jobs, all listed, MiB", f"{many.after_mebibytes:.0f}"),
                    ("listing all of them, s", f"{many.list_seconds:.2f}"),
                ),
            ),
        ),
        values={
            "seconds": {name: measured.seconds[1:] for name, measured in found.items()},
            "cpu_seconds": {name: measured.cpu_seconds[1:] for name, measured in found.items()},
        },
    )


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    main(run, __doc__)
