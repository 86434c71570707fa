"""The image built, run, stopped and run as a farm would, with what is to be had without Apptainer.

What stands in for something else is named in the output.
"""

from __future__ import annotations

import contextlib
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
from server.models.catalogue import find_model
from tests.integration.containers import building
from tests.integration.containers.building import ARCHIVE, IMAGE, ROOT, TORCH, engine, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SERVICE_UID = 10001
FARM_UID = 54321
NAME = "segmatte-test"
HEALTH = ["python", "/opt/segmatte/health.py"]
STATE = "/var/lib/segmatte"
DEFINITION = ROOT / "containers" / "segmatte.def"
HEADER_KEYS = {"Bootstrap", "From"}
EXTRAS = ("server", "web", "ray")
"""What the image can be: a server, the browser pages' server, a node of a Ray cluster."""
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
def flat(image, config):
    """The archive that the Apptainer definition starts from, unpacked to one root."""
    ARCHIVE.unlink(missing_ok=True)
    run(*engine("podman", "save", "--quiet", "--format", "docker-archive", "-o", ARCHIVE, image))
    container = run(*engine("buildah", "from", f"docker-archive:{ARCHIVE}")).stdout.split()[-1]
    yield Flat(run(*engine("buildah", "mount", container)).stdout.strip(), config["Config"]["Env"])
    run(*engine("buildah", "rm", container))


@pytest.fixture
def shared():
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="segmatte-containers-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def plate(shared):
    """A drawn plate that every user may read."""
    from server.commands.demo import demo_shot, write_plate

    return write_plate(demo_shot(frames=7), shared / "plate", name="street", first=1001)


class Flat:
    """The image without a container engine, as Apptainer runs it.

    The caller's uid and home, a read-only root, the host's /tmp, no entry point, no capabilities.
    """

    def __init__(self, root, environment):
        self.root = Path(root)
        self._environment = [variable.split("=", 1) for variable in environment]

    def command(self, *command, uid, home, environment=None):
        """What to start for a program of the image."""
        variables = {**dict(self._environment), "HOME": home, "OMP_NUM_THREADS": 1}
        variables |= environment or {}
        (home / "root").mkdir(exist_ok=True)
        # The engine keeps images where only root may go; the program runs where its user may.
        return [
            *("unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"'),
            *("sh", self.root, home / "root"),
            *("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"),
            *("env", f"HOME={home}", "USER=submitter", "ch-run", "--unset-env=*"),
            *(f"--set-env={name}={value}" for name, value in variables.items()),
            *("--bind", f"{TORCH}:/opt/torch", "--cd", "/tmp", home / "root", "--", *command),
        ]


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
        *(line for extra in EXTRAS for line in project["optional-dependencies"][extra]),
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
    published = find_model("sam2.1-tiny").checkpoint
    with (tmp_path / published.name).open("wb") as file:
        file.truncate(published.size_bytes)
    done = building.build(
        *("--build-arg", "WEIGHTS=official", "--build-arg", "MODELS=sam2.1-tiny"),
        *("--build-arg", "WEIGHTS_FROM=/weights", "--volume", f"{tmp_path}:/weights:ro"),
        *("--volume", f"{TORCH}:/opt/torch:ro"),
        check=False,
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert f"Expected {published.name} with sha256 {published.sha256}" in said, said[-2000:]
    assert run(*engine("podman", "image", "exists", image), check=False).returncode == 0


# ------------------------------------------------------------------------------- service


def test_the_image_asks_for_no_rights_and_carries_nothing_of_this_machine(config, flat):
    assert config["Config"]["User"] == f"{SERVICE_UID}:{SERVICE_UID}"
    assert config["Healthcheck"]["Test"] == ["CMD", *HEALTH]
    assert config["Config"]["StopSignal"] in ("SIGTERM", "15")
    names = {variable.split("=")[0] for variable in config["Config"]["Env"]}
    assert not [name for name in names if name.startswith(("PIP_", "SSL_"))]
    for pattern in ("etc/pip.conf", "run/secrets", "build", "usr/lib/*/libGL.so*"):
        assert not list(flat.root.glob(pattern)), pattern


def test_a_job_runs_the_server_stops_on_sigterm_and_goes_on(flat, plate, shared, tmp_path, say):
    site = Site(shared, plate, flat)
    say(site.how)
    token = run(*site.command("users", "add", "artist")).stdout.strip()

    def shot():
        source = wire.PlateSource(path=str(plate))
        return wire.SubmitShotRequest(plate=source, prompts=wire.Prompts(text="person"))

    with site.serving() as port, site.client(port, token) as client:
        assert run(*site.health(), check=False).returncode == 0
        first = client.submit(shot()).id
        assert ended(client, first).state == wire.DONE
        delivered = results(client, first, tmp_path / "before")
        assert delivered.keys() >= {f"objectid/street.{n}.exr" for n in range(1001, 1008)}
        second = client.submit(shot()).id
        wait_for(lambda: client.job(second).state == wire.RUNNING)
    assert site.exit_code == 0, site.log()

    with site.serving() as port, site.client(port, token) as client:
        assert client.job(first).state == wire.DONE
        assert results(client, first, tmp_path / "after") == delivered
        assert ended(client, second).state == wire.DONE
        assert results(client, second, tmp_path / "second") == delivered
    assert site.exit_code == 0, site.log()


class Site:
    """A facility's server in a container: TLS, a user, a read-only root, no capabilities."""

    def __init__(self, folder, plate, flat):
        self._flat = flat
        self._state, secrets = folder / "state", folder / "secrets"
        self._authority = secrets / "cert.pem"
        for made in (self._state, secrets):
            made.mkdir()
        run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", secrets / "key.pem", "-out", self._authority),
        )
        (secrets / "key.pem").chmod(0o600)
        (secrets / "server.toml").write_text(
            'port = 0\ndevices = ["cpu"]\nthreads_per_worker = 1\n'
            'detector = "demo-groundingdino"\nsegmenter = "demo-sam2"\n'
            f'tls_certificate = "{self._authority}"\ntls_key = "{secrets / "key.pem"}"\n'
            f'[[roots]]\npath = "{plate.parent}"\n'
        )
        for path in (self._state, secrets, *secrets.iterdir()):
            os.chown(path, SERVICE_UID, SERVICE_UID)
        self._state.chmod(0o700)
        self._config = secrets / "server.toml"
        self._options = (
            *("--network=host", "--cgroups=disabled", "--read-only", "--cap-drop=all"),
            *("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1024:4096"),
            *("--security-opt", "no-new-privileges", "--env", "OMP_NUM_THREADS=1"),
            *("--env", f"SEGMATTE_CONFIG={self._config}", "--volume", f"{self._state}:{STATE}"),
            *(f"--volume={path}:{path}:ro" for path in (secrets, plate.parent)),
            *("--volume", f"{TORCH}:/opt/torch:ro"),
        )
        self._log = folder / "log"
        self.exit_code = None
        self._by_podman = True
        tried = run(*self.command("--version"), check=False)
        self._by_podman = tried.returncode == 0
        rights = f"uid {SERVICE_UID}, read-only root, no capabilities"
        self.how = f"run by {run('podman', '--version').stdout.strip()}: {rights}"
        if not self._by_podman:
            reason = (tried.stderr.strip().splitlines() or ["no word"])[-1]
            self.how = f"podman cannot run it here ({reason}); run by ch-run: {rights}"

    def command(self, *arguments):
        """A command of the program in a container of its own."""
        if self._by_podman:
            return engine("podman", "run", "--rm", *self._options, IMAGE, *arguments)
        return self._flat_command("segmatte", *arguments)

    def health(self):
        """The image's own HEALTHCHECK in the server's container."""
        if self._by_podman:
            return engine("podman", "healthcheck", "run", NAME)
        return self._flat_command(*HEALTH)

    def _flat_command(self, *command):
        environment = {"SEGMATTE_CONFIG": self._config, "SEGMATTE_STATE": self._state}
        return self._flat.command(
            *command, uid=SERVICE_UID, home=self._state, environment=environment
        )

    @contextlib.contextmanager
    def serving(self):
        """The server from start to SIGTERM, as its port."""
        command = self.command("serve")
        if self._by_podman:
            command[command.index("--rm") : command.index("--rm")] = ["--replace", "--name", NAME]
        with self._log.open("w") as log:
            process = subprocess.Popen([*map(str, command)], stdout=log, stderr=subprocess.STDOUT)
        try:
            announced = re.compile(r"Serving on \S+:(\d+)\n")
            wait_for(lambda: announced.search(self.log()) or process.poll() is not None)
            found = announced.search(self.log())
            assert found, self.log()
            yield int(found.group(1))
        finally:
            process.terminate()
            try:
                self.exit_code = process.wait(120)
            finally:
                process.kill()

    def client(self, port, token):
        """Our client, which checks the certificate."""
        authority = self._authority.read_bytes()
        return Client(Server(f"localhost:{port}", token, tls=True, certificate_authority=authority))

    def log(self):
        """What the server said."""
        return self._log.read_text()


def ended(client, job_id):
    for update in client.watch(job_id):
        job = update.job
    return job


def results(client, job_id, folder):
    """Name → bytes of the delivered ObjectId files."""
    folder.mkdir()
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


# ------------------------------------------------------------------------------ apptainer


def test_the_image_is_a_node_of_a_ray_cluster_and_serves_the_pages(flat, shared):
    home = shared / "home"
    home.mkdir()
    os.chown(home, FARM_UID, FARM_UID)
    code = (
        "import client.web.app, os, ray; "
        "ray.init(num_cpus=1, include_dashboard=False, _temp_dir=os.environ['HOME'] + '/ray'); "
        "print(ray.get(ray.remote(lambda: os.getuid()).remote()))"
    )
    environment = {"RAY_USAGE_STATS_ENABLED": "0"}
    ran = run(*flat.command("python", "-c", code, uid=FARM_UID, home=home, environment=environment))
    assert ran.stdout.split()[-1] == str(FARM_UID)


def test_a_farm_job_runs_as_its_submitter_through_the_definition(flat, plate, shared, say):
    say("Apptainer is not to be had here: ch-run runs the definition's own scripts instead")
    home = shared / "home"
    home.mkdir()
    os.chown(home, FARM_UID, FARM_UID)
    sections = read_definition()[1]

    def submitted(section, *arguments):
        script = f"{sections['environment']}\n{sections[section]}"
        command = ("/bin/sh", "-c", script, "sh", *arguments)
        return run(*flat.command(*command, uid=FARM_UID, home=home), check=False)

    tested = submitted("test")
    assert tested.returncode == 0, tested.stderr
    assert "tiny job" in tested.stdout
    job = ("run", plate, "--prompt", "person", "--models", "demo", "--threads", "1", "--out")
    done = submitted("runscript", *job, home / "out")
    assert done.returncode == 0, done.stderr
    written = list((home / "out" / "objectid").glob("*.exr"))
    assert len(written) == 7
    assert {path.stat().st_uid for path in written} == {FARM_UID}
    refused = submitted("runscript", *job, "/opt/segmatte/out")
    assert refused.returncode == 4, refused.stderr
    served = submitted("startscript", "--print-config")
    assert json.loads(served.stdout)["state"] == str(home / ".local/state/segmatte")


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
