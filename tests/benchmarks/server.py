"""``python -m tests.benchmarks.server --json``: what the server costs, beside bare gRPC.

Transfers are measured against a bare gRPC stream of the same chunks on the same machine; ratios
say more than seconds on a machine with other work. Losses stand beside wins.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

from client.library import Client
from protos import segmatte_pb2 as wire
from server.jobs.store import NewJob, Store
from tests.flat_plates import write_flat_plate
from tests.system.serving import RunningServer, request

CHUNK = 1 << 20


_BARE_SERVER = """
import sys, grpc
from concurrent import futures
def up(requests, context):
    for _ in requests: pass
    return b""
def down(request, context):
    data = bytes(1 << 20)
    for _ in range(int(request)): yield data
handlers = grpc.method_handlers_generic_handler("b", {
    "up": grpc.stream_unary_rpc_method_handler(up),
    "down": grpc.unary_stream_rpc_method_handler(down)})
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((handlers,))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start(); sys.stdin.read()
"""


@contextlib.contextmanager
def bare_stream():
    """Upload and download of bare chunks, server in another process; yields its pid, too."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BARE_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    data = bytes(CHUNK)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            upload, download = channel.stream_unary("/b/up"), channel.unary_stream("/b/down")

            def up(megabytes):
                upload(data for _ in range(megabytes))

            def down(megabytes):
                for _ in download(str(megabytes).encode()):
                    pass

            yield process.pid, up, down
    finally:
        process.communicate("")


class Measured:
    """Seconds, and CPU seconds of client and server together, of repeated work."""

    def __init__(self, pid):
        self.pid = pid
        self.seconds = []
        self.cpu_seconds = []

    def run(self, work):
        cpu, begun = self._cpu(), time.perf_counter()
        work()
        self.seconds.append(time.perf_counter() - begun)
        self.cpu_seconds.append(self._cpu() - cpu)

    def without_warm_up(self):
        del self.seconds[0], self.cpu_seconds[0]
        return self

    def _cpu(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def transfers(server, folder, megabytes, *, repeats):
    """Ours (hashed, synced, checked) and bare in turns, so that other work hits both alike.

    Returns:
        Bare and our upload, bare and our download, and what a second submit moved and took.
    """
    with server.client() as client, bare_stream() as (bare_pid, bare_up, bare_down):
        pid = server.process.pid
        up, down = (Measured(bare_pid), Measured(pid)), (Measured(bare_pid), Measured(pid))
        plate = write_flat_plate(folder / "plate", frames=2)
        job_id = client.wait(client.submit(request(plate)).id).id
        asked = wire.DownloadResultRequest(job_id=job_id, name=_plant(server, job_id, megabytes))

        def our_down():
            for _ in client.connection.stream(client._stub.DownloadResult, asked):
                pass

        for number in range(repeats + 1):
            data = b"\x76\x2f\x31\x01" + os.urandom(megabytes * CHUNK - 4)
            path = folder / f"{number}.exr"
            path.write_bytes(data)
            os.sync()
            contents = {hashlib.sha256(data).digest(): path}
            up[0].run(lambda: bare_up(megabytes))
            up[1].run(lambda contents=contents: client.upload(contents))
            begun = time.perf_counter()
            again = client.upload(contents)
            second = time.perf_counter() - begun
            down[0].run(lambda: bare_down(megabytes))
            down[1].run(our_down)
            path.unlink()
    for measured in (*up, *down):
        measured.without_warm_up()
    return up, down, again, second


def _plant(server, job_id, megabytes):
    """A large result, put where results lie."""
    import sqlite3

    data = os.urandom(megabytes * CHUNK)
    (server.state / "jobs" / job_id / "result" / "big.bin").write_bytes(data)
    with contextlib.closing(sqlite3.connect(server.state / "jobs.sqlite")) as db:
        db.execute(
            "INSERT INTO file VALUES (?,?,?,?,NULL,1)",
            (job_id, "big.bin", len(data), hashlib.sha256(data).digest()),
        )
        db.commit()
    return "big.bin"


def latency(client, job_id, count=100):
    """Seconds of single GetJob calls."""
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        client.job(job_id)
        seconds.append(time.perf_counter() - begun)
    return seconds


def beside_watchers(server, plate, watchers):
    """GetJob alone and beside watchers of a job that runs."""
    with server.client() as client:
        job = client.submit(request(plate))
        alone = latency(client, job.id)
        clients = [server.client() for _ in range(8)]
        pool = futures.ThreadPoolExecutor(watchers)

        watching = set()

        def follow(one: Client, number: int):
            with contextlib.suppress(Exception):
                for _ in one.watch(job.id):
                    watching.add(number)

        for number in range(watchers):
            pool.submit(follow, clients[number % len(clients)], number)
        time.sleep(3)
        crowded = latency(client, job.id)
        count = len(watching)
        client.cancel(job.id)
        for one in clients:
            one.close()
        pool.shutdown()
    return alone, crowded, count


def resident_bytes(pid):
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def queue_memory(server, jobs):
    """Server memory before and after many queued jobs of 1,000 frames, all listed once."""
    store = Store(server.state / "jobs.sqlite")
    store.drain(True)
    with server.client() as client:
        client.jobs()
        before = resident_bytes(server.process.pid)
        frames = [[n, hashlib.sha256(str(n).encode()).hexdigest(), "png"] for n in range(1000)]
        plate = {"name": "p.####.png", "frames": frames, "format": None, "window": None}
        text = json.dumps({"plate": plate})
        for _ in range(jobs):
            store.submit(NewJob(owner="many", kind="shot", request=text, title={"plate": "p"}))
        begun = time.perf_counter()
        listed = len(client.jobs(limit=jobs))
        seconds = time.perf_counter() - begun
        after = resident_bytes(server.process.pid)
    store.close()
    return before, after, listed, seconds


def compared(name, pair, megabytes):
    """Bare and ours; the share is bare divided by ours, turn by turn."""
    bare, ours = pair
    shares = [b / o for b, o in zip(bare.seconds, ours.seconds, strict=True)]

    def cpu(measured):
        return round(1000 * statistics.median(measured.cpu_seconds) / megabytes, 2)

    return {
        f"bare_{name}_seconds": spread(bare.seconds),
        f"{name}_seconds": spread(ours.seconds),
        f"{name}_share_of_bare": spread(shares),
        f"{name}_cpu_milliseconds_per_megabyte": {"bare": cpu(bare), "ours": cpu(ours)},
    }


def spread(seconds):
    """Median and range."""
    return {
        "median": round(statistics.median(seconds), 5),
        "min": round(min(seconds), 5),
        "max": round(max(seconds), 5),
    }


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1000)
    arguments = parser.parse_args()
    settings = "[limits]\nstreams = 1000\nqueued_jobs = 100000"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = write_flat_plate(folder / "slow", frames=40)
        environment = {"STEP_SECONDS": "0.25"}
        with RunningServer(folder / "state", settings=settings, environment=environment) as server:
            up, down, again, second = transfers(
                server, folder, arguments.megabytes, repeats=arguments.repeats
            )
            alone, crowded, watching = beside_watchers(server, plate, arguments.watchers)
            before, after, listed, listing = queue_memory(server, arguments.jobs)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    report = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": [round(value, 1) for value in os.getloadavg()],
            "python": platform.python_version(),
            "grpc": grpc.__version__,
            "commit": commit,
        },
        "megabytes": arguments.megabytes,
        **compared("upload", up, arguments.megabytes),
        **compared("download", down, arguments.megabytes),
        "second_submit_bytes": again,
        "second_submit_seconds": round(second, 4),
        "get_job_alone_seconds": spread(alone),
        "get_job_beside_watchers_seconds": spread(crowded),
        "watchers": watching,
        "queued_jobs_listed": listed,
        "list_all_seconds": round(listing, 3),
        "server_memory_bytes": {"before": before, "after": after},
        "threads_left": threading.active_count(),
    }
    print(json.dumps(report, indent=None if arguments.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
