"""The image built, run, stopped and run as a farm would, with what is to be had without Apptainer.

What stands in for something else is named in the output.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from client.connection import Server
from client.library import Client
from protos import segmatte_pb2 as wire
from tests.integration.containers import building
from tests.integration.containers.building import ARCHIVE, IMAGE, ROOT, TORCH, engine, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SERVICE_UID = 10001
FARM_UID = 54321
NAME = "segmatte-test"
STATE = "/var/lib/segmatte"
DEFINITION = ROOT / "containers" / "segmatte.def"
HEADER_KEYS = {"Bootstrap", "From"}
SECTIONS = {
    *("setup", "files", "post", "environment", "runscript", "startscript", "test"),
    *("labels", "help", "arguments"),
}
"""Those of Apptainer's manual that a definition of one stage may have."""


@pytest.fixture(scope="module")
def say(pytestconfig):
    """Print past pytest's capturing."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def line(text):
        with capture.global_and_fixture_disabled():
            print(f"  {text}", flush=True)

    return line


@pytest.fixture(scope="module")
def image(say):
    """The name of the built image."""
    start = time.monotonic()
    building.bootstrap_base()
    say(f"base: Debian, bootstrapped here in place of CUDA's ({time.monotonic() - start:.0f} s)")
    different = building.lay_torch()
    say("torch: not in the image but mounted from this environment, versions as in torch.lock")
    if different:
        say(f"  except {', '.join(different)}")
    assert not [line for line in different if line.startswith(("torch ", "torchvision "))]
    start = time.monotonic()
    building.build("--build-arg", "WEIGHTS=none", "--tag", IMAGE)
    say(f"built by buildah, isolation=chroot ({time.monotonic() - start:.0f} s)")
    return IMAGE


@pytest.fixture(scope="module")
def config(image):
    """The image's configuration."""
    inspected = run(*engine("podman", "image", "inspect", image)).stdout
    return json.loads(inspected)[0]


@pytest.fixture(scope="module")
def plate():
    """A drawn plate that any user may read."""
    from server.commands.demo import demo_shot, write_plate

    folder = Path(tempfile.mkdtemp(prefix="segmatte-containers-"))
    folder.chmod(0o755)
    pattern = write_plate(demo_shot(frames=7), folder / "plate", name="street", first=1001)
    yield pattern
    shutil.rmtree(folder)


# -------------------------------------------------------------------------------- files


def test_the_locks_hold_all_that_is_asked_for_by_hash_and_name_no_host():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    versions = {}
    for name in ("build.lock", "torch.lock", "server.lock"):
        text = (ROOT / "requirements" / name).read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert not re.findall(r"^\S+==.*[^\\]$", text, re.MULTILINE), "a version without hashes"
        versions |= building.locked(name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    models = (ROOT / "requirements" / "models.txt").read_text().splitlines()
    asked = [
        *project["dependencies"],
        *project["optional-dependencies"]["server"],
        *(line for line in models if line and not line.startswith("#")),
        *re.findall(r"\b(?:torch|torchvision)==[\w.]+", (ROOT / "Makefile").read_text()),
    ]
    for line in asked:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            version = versions.get(canonicalize_name(requirement.name))
            assert version is not None, f"{line} is not locked: python containers/lock.py"
            assert requirement.specifier.contains(version), f"{line}, locked {version}"


def test_the_dockerfile_passes_hadolint(say):
    hadolint = shutil.which("hadolint") or Path(sys.executable).with_name("hadolint")
    if not Path(hadolint).exists():
        say("hadolint is not to be had here: only parsed by buildah")
        pytest.skip("hadolint is not installed")
    done = run(hadolint, "--no-color", "containers/Dockerfile", check=False)
    assert done.returncode == 0, done.stdout


def test_the_definition_is_in_apptainers_form_and_starts_from_the_archive():
    header, sections = read_definition()
    assert set(header) == HEADER_KEYS
    assert header["Bootstrap"] == "docker-archive"
    assert ROOT / header["From"] == ARCHIVE
    assert set(sections) <= SECTIONS
    for name in ("environment", "runscript", "startscript", "test"):
        run("bash", "-n", "-c", sections[name])


# ------------------------------------------------------------------------------- weights


def test_weights_with_another_sha256_stop_the_build(image, tmp_path):
    (tmp_path / "sam2.1_hiera_tiny.pt").write_bytes(b"not the published file")
    done = building.build(
        *("--build-arg", "WEIGHTS=official", "--build-arg", "MODELS=sam2.1-tiny"),
        *("--build-arg", "WEIGHTS_FROM=/weights", "--volume", f"{tmp_path}:/weights:ro"),
        *("--volume", f"{TORCH}:/opt/torch:ro"),
        check=False,
    )
    assert done.returncode != 0
    assert "156" in done.stderr or "156" in done.stdout  # the megabytes it should have
    assert run(*engine("podman", "image", "exists", image), check=False).returncode == 0


# ------------------------------------------------------------------------------- service


def test_the_image_is_small_rights_by_default(image, config):
    assert config["Config"]["User"] == f"{SERVICE_UID}:{SERVICE_UID}"
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "/opt/segmatte/health.py"]
    assert config["Config"]["StopSignal"] in ("SIGTERM", "15")
    environment = "\n".join(config["Config"]["Env"])
    assert "PIP_" not in environment
    listed = inside(image, "find", "/", "-xdev", "-name", "libGL.so*", "-o", "-name", "pip.conf")
    assert listed.stdout == ""


def test_a_job_runs_the_server_stops_on_sigterm_and_goes_on(image, plate, tmp_path_factory, say):
    site = Site(tmp_path_factory.mktemp("site"), plate)
    site.say_how(say)
    token = site.command("users", "add", "artist").stdout.strip()
    request = wire.SubmitShotRequest(
        plate=wire.PlateSource(path=f"/plates/{plate.name}"),
        prompts=wire.Prompts(text="person"),
    )
    with site.serving() as address, site.client(address, token) as client:
        assert site.is_healthy()
        first = client.submit(request).id
        assert ended(client, first).state == wire.DONE
        delivered = results(client, first, tmp_path_factory.mktemp("before"))
        frames = {f"objectid/street.{n}.exr" for n in range(1001, 1008)}
        assert frames <= set(delivered)
        second = client.submit(request).id
        wait_for(lambda: client.job(second).state == wire.RUNNING)
    assert site.exit_code == 0, site.log()

    with site.serving() as address, site.client(address, token) as client:
        assert client.job(first).state == wire.DONE
        assert results(client, first, tmp_path_factory.mktemp("after")) == delivered
        assert ended(client, second).state == wire.DONE
        again = results(client, second, tmp_path_factory.mktemp("again"))
        assert {name: again[name] for name in frames} == {name: delivered[name] for name in frames}
    assert site.exit_code == 0, site.log()


class Site:
    """A facility's server in a container: TLS, a user, a read-only root, no capabilities."""

    def __init__(self, folder, plate):
        folder.chmod(0o755)
        self.state, secrets = folder / "state", folder / "secrets"
        self.authority = secrets / "cert.pem"
        for made in (self.state, secrets):
            made.mkdir()
        run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", secrets / "key.pem", "-out", self.authority),
        )
        (secrets / "key.pem").chmod(0o600)
        (secrets / "server.toml").write_text(
            'port = 0\ndevices = ["cpu"]\nthreads_per_worker = 1\n'
            'detector = "demo-groundingdino"\nsegmenter = "demo-sam2"\n'
            'tls_certificate = "/secrets/cert.pem"\ntls_key = "/secrets/key.pem"\n'
            '[[roots]]\npath = "/plates"\n'
        )
        for path in (self.state, secrets, *secrets.iterdir()):
            os.chown(path, SERVICE_UID, SERVICE_UID)
        self.state.chmod(0o700)
        self._options = (
            *("--network=host", "--cgroups=disabled", "--read-only", "--cap-drop=all"),
            *("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:4096"),
            *("--security-opt", "no-new-privileges", "--env", "OMP_NUM_THREADS=1"),
            *("--env", "SEGMATTE_CONFIG=/secrets/server.toml"),
            *("--volume", f"{self.state}:{STATE}", "--volume", f"{secrets}:/secrets:ro"),
            *("--volume", f"{plate.parent}:/plates:ro", "--volume", f"{TORCH}:/opt/torch:ro"),
        )
        self._log = folder / "log"
        self.exit_code = None

    def say_how(self, say):
        """Name what runs it."""
        version = run("podman", "--version").stdout.strip()
        say(f"run by {version}: uid {SERVICE_UID}, read-only root, no capabilities")

    def command(self, *arguments):
        """A command of the program in a container of its own."""
        return run(*engine("podman", "run", "--rm", *self._options, IMAGE, *arguments))

    def serving(self):
        """The server from start to SIGTERM, as a context with its address."""
        return _Serving(self)

    def client(self, address, token):
        """Our client, which checks the certificate."""
        port = address.rpartition(":")[2]
        authority = self.authority.read_bytes()
        server = Server(f"localhost:{port}", token, tls=True, certificate_authority=authority)
        return Client(server)

    def is_healthy(self):
        """What the image's own HEALTHCHECK says."""
        probe = engine("podman", "healthcheck", "run", NAME)
        return run(*probe, check=False).returncode == 0

    def log(self):
        """What the server said."""
        return self._log.read_text()

    def start(self):
        """Start the server; returns its process."""
        command = engine(
            "podman", "run", "--rm", "--replace", "--name", NAME, *self._options, IMAGE
        )
        with self._log.open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


class _Serving:
    def __init__(self, site):
        self._site = site

    def __enter__(self):
        self._process = self._site.start()
        wait_for(lambda: "Serving on " in self._site.log() or self._process.poll() is not None)
        found = re.search(r"Serving on (\S+)", self._site.log())
        assert found, self._site.log()
        return found.group(1)

    def __exit__(self, *_):
        stop = engine("podman", "kill", "--signal", "TERM", NAME)
        run(*stop)
        try:
            self._site.exit_code = self._process.wait(120)
        except subprocess.TimeoutExpired:
            run(*engine("podman", "kill", NAME))
            self._process.wait()
            raise


def ended(client, job_id):
    for update in client.watch(job_id):
        job = update.job
    return job


def results(client, job_id, folder):
    """Name → bytes of the delivered ObjectId files."""
    for file in client.results(job_id).files:
        if file.name.endswith(".exr"):
            client.download(job_id, file, folder / file.name)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.exr")
    }


def wait_for(condition, *, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.5)


def inside(image, *command):
    """A program of the image, without the entry point and with all rights."""
    return run(
        *engine("podman", "run", "--rm", "--network=none", "--cgroups=disabled", "--user=0"),
        *("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:4096", "--env", "LC_ALL=C"),
        *("--entrypoint", command[0], image, *command[1:]),
    )


# ------------------------------------------------------------------------------ apptainer


def test_a_farm_job_runs_as_its_submitter_through_the_definition(image, config, plate, say):
    say("Apptainer is not to be had here: ch-run runs the definition's own scripts instead")
    ARCHIVE.unlink(missing_ok=True)
    run(*engine("podman", "save", "--quiet", "--format", "docker-archive", "-o", ARCHIVE, image))
    container = run(*engine("buildah", "from", f"docker-archive:{ARCHIVE}")).stdout.split()[-1]
    folder = Path(tempfile.mkdtemp(prefix="segmatte-farm-"))
    home = folder / "home"
    try:
        home.mkdir()
        os.chown(home, FARM_UID, FARM_UID)
        folder.chmod(0o755)
        farm = Farm(folder, container, config["Config"]["Env"])
        tested = farm.run("test")
        assert tested.returncode == 0, tested.stderr
        assert "tiny job" in tested.stdout
        out = home / "out"
        arguments = ("run", plate, "--prompt", "person", "--models", "demo", "--threads", "1")
        done = farm.run("runscript", *arguments, "--out", out)
        assert done.returncode == 0, done.stderr
        written = list((out / "objectid").glob("*.exr"))
        assert len(written) == 7
        assert {path.stat().st_uid for path in written} == {FARM_UID}
        refused = farm.run("runscript", *arguments, "--out", "/opt/segmatte/out")
        assert refused.returncode not in (0, 1), refused.stderr
        served = farm.run("startscript", "--print-config")
        assert json.loads(served.stdout)["state"] == str(home / ".local/state/segmatte")
    finally:
        run(*engine("buildah", "rm", container))
        shutil.rmtree(folder)


class Farm:
    """What Apptainer does at run time: the caller's uid and home, a read-only root, /tmp shared."""

    def __init__(self, folder, container, environment):
        self._folder, self._container = folder, container
        self._home = folder / "home"
        self._environment = folder / "environment"
        self._environment.write_text(
            "\n".join([*environment, f"HOME={self._home}", "USER=submitter", "OMP_NUM_THREADS=1"])
        )
        (folder / "root").mkdir()

    def run(self, section, *arguments):
        """A script of the definition, after its %environment."""
        _, sections = read_definition()
        script = f"{sections['environment']}\n{sections[section]}"
        mount = (
            'mount --bind "$(buildah --root "$1" --runroot "$2" mount "$3")" "$4" && '
            'shift 4 && exec "$@"'
        )
        images, running = building.FOLDER / "images", building.FOLDER / "run"
        return run(
            *("unshare", "--mount", "sh", "-c", mount, "sh"),
            *(images, running, self._container, self._folder / "root"),
            *("setpriv", "--reuid", FARM_UID, "--regid", FARM_UID, "--clear-groups"),
            *("env", f"HOME={self._home}", "USER=submitter", "ch-run", "--unset-env=*"),
            *(f"--set-env={self._environment}", "--bind", f"{TORCH}:/opt/torch"),
            *("--cd", "/tmp", self._folder / "root", "--"),
            *("/bin/sh", "-c", script, "sh", *arguments),
            check=False,
        )


def read_definition():
    """Header keys and sections of the definition, comments left out of the header."""
    header, sections, name = {}, {}, None
    for line in DEFINITION.read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            sections[name] = ""
        elif name is not None:
            sections[name] += line + "\n"
        elif line.strip() and not line.startswith("#"):
            key, _, value = line.partition(":")
            header[key] = value.strip()
    return header, sections
