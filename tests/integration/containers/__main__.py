"""``make container-full``: the image with torch in it, built, measured and tried once."""

from __future__ import annotations

import json
import sys
import time

from tests.integration.containers import building
from tests.integration.containers.building import engine, run

IMAGE = "localhost/segmatte:full"


def main() -> int:
    """Build on the Debian base; returns the exit code."""
    building.bootstrap_base()
    start = time.monotonic()
    building.build("--build-arg", "WEIGHTS=none", "--tag", IMAGE, torch="installed")
    print(
        f"built in {time.monotonic() - start:.0f} s, what was built before taken over", flush=True
    )
    inspected = json.loads(run(*engine("podman", "image", "inspect", IMAGE)).stdout)[0]
    print(f"{IMAGE}: {inspected['Size'] / 1e9:.1f} GB")
    done = run(
        *engine("podman", "run", "--rm", "--network=none", "--cgroups=disabled", "--read-only"),
        *("--cap-drop=all", "--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:4096"),
        *("--env", "OMP_NUM_THREADS=1", IMAGE, "selftest", "--models", "demo"),
    )
    print(done.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
