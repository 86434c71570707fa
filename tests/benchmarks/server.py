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


def bare_stream(megabytes, *, repeats):
    """Seconds of a bare upload and download of the same chunks, server in another process."""
    code = """
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
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    data = bytes(CHUNK)
    up, down = [], []
    try:
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            upload, download = channel.stream_unary("/b/up"), channel.unary_stream("/b/down")
            for _ in range(repeats + 1):
                begun = time.perf_counter()
                upload(data for _ in range(megabytes))
                up.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                for _ in download(str(megabytes).encode()):
                    pass
                down.append(time.perf_counter() - begun)
    finally:
        process.communicate("")
    return up[1:], down[1:]  # the first is the warm-up


def transfers(server, folder, megabytes, *, repeats):
    """Seconds of our upload (hashed, synced, checked) and download, and a second submit's bytes."""
    up, down = [], []
    with server.client() as client:
        job_id = ""
        for number in range(repeats + 1):
            data = b"\x76\x2f\x31\x01" + os.urandom(megabytes * CHUNK - 4)
            path = folder / f"{number}.exr"
            path.write_bytes(data)
            contents = {hashlib.sha256(data).digest(): path}
            begun = time.perf_counter()
            client.upload(contents)
            up.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            again = client.upload(contents)
            second = time.perf_counter() - begun
        plate = write_flat_plate(folder / "plate", frames=2)
        job_id = client.wait(client.submit(request(plate)).id).id
        big = _plant(server, job_id, megabytes)
        stub = client._stub
        asked = wire.DownloadResultRequest(job_id=job_id, name=big)
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            for _ in client.connection.stream(stub.DownloadResult, asked):
                pass
            down.append(time.perf_counter() - begun)
    return up[1:], down[1:], again, second


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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1000)
    arguments = parser.parse_args()
    settings = "[limits]\nstreams = 1000\nqueued_jobs = 100000"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = write_flat_plate(folder / "slow", frames=40)
        environment = {"STEP_SECONDS": "0.25"}
        with RunningServer(folder / "state", settings=settings, environment=environment) as server:
            bare_up, bare_down = bare_stream(arguments.megabytes, repeats=arguments.repeats)
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
        "bare_upload_seconds": spread(bare_up),
        "upload_seconds": spread(up),
        "upload_share_of_bare": round(statistics.median(bare_up) / statistics.median(up), 3),
        "bare_download_seconds": spread(bare_down),
        "download_seconds": spread(down),
        "download_share_of_bare": round(statistics.median(bare_down) / statistics.median(down), 3),
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
