"""The image as tests build it: Debian as its base, torch mounted, everything else as delivered.

Images and the bootstrapped base stay in ``build/containers``, so a second run is short.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "build" / "containers"
TORCH = FOLDER / "torch"
ARCHIVE = FOLDER / "segmatte.tar"
BASE = "localhost/segmatte-base:bookworm"
IMAGE = "localhost/segmatte:test"

_WITHOUT_MIXED_CGROUPS = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'


def engine(program, *arguments):
    """A command of buildah or podman with images of our own.

    podman runs in a private mount namespace, in which a machine with both generations of cgroups
    shows one of them: crun refuses the mixture.
    """
    folders = ("--root", FOLDER / "images", "--runroot", FOLDER / "run")
    command = [program, *folders, *arguments]
    if program == "podman":
        command[1:1] = ["--cgroup-manager", "cgroupfs"]
        command[:0] = ["unshare", "--mount", "sh", "-c", _WITHOUT_MIXED_CGROUPS, "sh"]
    return [*map(str, command)]


def run(*command, check=True):
    """Run to the end; a failure shows what was said last."""
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def locked(name):
    """Package → version in a lock file, as this Python would install it."""
    from packaging.requirements import Requirement

    text = (ROOT / "requirements" / name).read_text()
    lines = re.findall(r"^(\S+==[^\\]+?) \\$", text, re.MULTILINE)
    found = [Requirement(line) for line in lines]
    return {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate()
    }


def lay_torch():
    """Link the files of the torch layer from this environment.

    Returns:
        Packages whose version here is not the locked one.
    """
    shutil.rmtree(TORCH, ignore_errors=True)
    different = []
    for name, version in locked("torch.lock").items():
        package = metadata.distribution(name)
        if package.version != version:
            different.append(f"{name} {package.version} instead of {version}")
        for file in package.files or ():
            if ".." not in file.parts:
                target = TORCH / file
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(package.locate_file(file)), target)
    return different


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def bootstrap_base():
    """A Debian without anything, as an image to start from."""
    FOLDER.mkdir(parents=True, exist_ok=True)  # buildah would make it for root alone
    if run(*engine("buildah", "inspect", "--type", "image", BASE), check=False).returncode == 0:
        return
    tar = FOLDER / "base.tar"
    if not tar.exists():
        partial = tar.with_suffix(".partial.tar")
        run(
            *("mmdebstrap", "--variant=minbase", "--dpkgopt=force-unsafe-io"),
            *("bookworm", partial, "http://deb.debian.org/debian"),
        )
        partial.rename(tar)
    run(*engine("podman", "import", "--quiet", tar, BASE))


def build(*arguments, torch="mounted", check=True):
    """Build the project's Dockerfile on the Debian base, with this machine's way to packages."""
    return run(
        *engine("buildah", "bud", "--isolation=chroot", "--pull-never", "--layers"),
        *("--force-rm", "--format", "docker", "--file", "containers/Dockerfile"),
        *("--ignorefile", "containers/Dockerfile.dockerignore"),
        *("--build-arg", f"BASE={BASE}", "--build-arg", f"TORCH={torch}"),
        *(part for secret in _secrets() for part in ("--secret", secret)),
        *arguments,
        ".",
        check=check,
    )


def _secrets():
    """Package index and certificates as pip is set up here; they never become part of a layer."""
    lines = ["[global]"]
    index = run(sys.executable, "-m", "pip", "config", "get", "global.index-url", check=False)
    if address := os.environ.get("PIP_INDEX_URL") or index.stdout.strip():
        lines.append(f"index-url = {address}")
    secrets = []
    if certificates := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
        lines.append("cert = /run/secrets/certificates")
        secrets.append(f"id=certificates,src={certificates}")
    file = FOLDER / "pip.conf"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return [f"id=pip.conf,src={file}", *secrets]
