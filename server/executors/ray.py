"""The executor for many machines: one Ray actor per GPU of a cluster, with a worker process each.

The actor (``Hand``) starts the same closed-off worker process as the local executor does, on its
node, and passes orders and messages on: what decodes a plate has no way to the cluster either. All
nodes run this program's own version and see the jobs' folder, the uploads and the plates under the
same paths. The job store stays with the server.

Ray is told of ``RAY_ADDRESS``, or finds a cluster of this machine, or starts one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from server.errors import SettingsError
from server.executors.keeper import INTERACTIVE, JobExecutor, Site
from server.executors.process import Listener, Message, WorkerProcess, WorkerProgram
from server.jobs.errors import BusyError
from server.jobs.store import Store

_log = logging.getLogger("segmatte.executor")
_CALL_SECONDS = 60.0
_HEAR_SECONDS = 1.0
_ASK_SECONDS = 1.0
"""An actor is asked this often whether it is still there."""


class Hand:
    """The actor: holds a GPU, and the worker processes that use it."""

    def __init__(self, program: WorkerProgram, device: str) -> None:
        """Be ready to start workers.

        Args:
            program: how they are started.
            device: as models are told.
        """
        self._program = program
        self._device = device
        self._workers: dict[str, tuple[WorkerProcess, queue.Queue[Message]]] = {}

    def node(self) -> str:
        """Where it is, for people."""
        return os.uname().nodename

    def start(self, name: str) -> int:
        """Start a worker; returns its process number."""
        said: queue.Queue[Message] = queue.Queue()
        worker = WorkerProcess(self._program, self._device, name=name, listener=said.put)
        self._workers[name] = (worker, said)
        return worker.pid

    def send(self, name: str, order: Mapping[str, Any]) -> None:
        """Tell a worker something."""
        self._workers[name][0].send(order)

    def hear(self, name: str) -> list[Message]:
        """What a worker has said since the last call; waits a while if that is nothing."""
        _, said = self._workers[name]
        messages = []
        with contextlib.suppress(queue.Empty):
            messages.append(said.get(timeout=_HEAR_SECONDS))
            while True:
                messages.append(said.get_nowait())
        return messages

    def kill(self, name: str) -> None:
        """End a worker now."""
        self._workers[name][0].kill()

    def end(self, name: str) -> None:
        """Let a worker end."""
        self._workers[name][0].end()


class RayWorker:
    """A worker somewhere in the cluster, see ``server.executors.process.Worker``."""

    def __init__(
        self, hand: Any, name: str, *, listener: Listener, lost: Callable[[], None]
    ) -> None:
        """Start it.

        Args:
            hand: the actor.
            name: of the worker.
            listener: hears its messages.
            lost: called when the actor turns out to be gone.

        Raises:
            BusyError: the actor is gone or does not answer.
        """
        import ray
        from ray.exceptions import RayError

        self.ended = False
        self._hand = hand
        self._name = name
        self._listener = listener
        self._lost = lost
        self._call = partial(ray.get, timeout=_CALL_SECONDS)
        self._gone: tuple[type[BaseException], ...] = (RayError, TimeoutError)
        try:
            self.pid = self._call(hand.start.remote(name))
        except self._gone as error:
            lost()
            raise BusyError(f"A worker of the cluster is gone: {_first_line(error)}") from error
        self._thread = threading.Thread(target=self._listen, daemon=True, name=f"{name} hear")
        self._thread.start()

    def send(self, order: Mapping[str, Any]) -> None:
        """Tell it something; a dead worker does not hear, and its ``exit`` says so."""
        # One after the other: an actor with several threads keeps no order among open calls.
        with contextlib.suppress(*self._gone):
            self._call(self._hand.send.remote(self._name, dict(order)))

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(*self._gone):
            self._call(self._hand.kill.remote(self._name))

    def end(self) -> None:
        """Let it end, and wait until it is gone."""
        if not self.ended:
            with contextlib.suppress(*self._gone):
                self._call(self._hand.end.remote(self._name))
        self._thread.join(5)

    def _listen(self) -> None:
        while not self.ended:
            try:
                messages = self._call(self._hand.hear.remote(self._name))
            except self._gone as error:
                self._lost()
                reason = f"A node or actor of the cluster was lost: {_first_line(error)}"
                messages = [{"say": "exit", "reason": reason, "last_words": ""}]
            for message in messages:
                self.ended = self.ended or message["say"] == "exit"
                self._listener(message)


class RayExecutor(JobExecutor):
    """Workers on the nodes of a Ray cluster."""

    def __init__(
        self, store: Store, site: Site, *, program: WorkerProgram, devices: tuple[str, ...] = ()
    ) -> None:
        """Nothing is started yet.

        Args:
            store: where jobs are.
            site: folders, roots and limits.
            program: how workers are started, on any node; 0 threads: a node's cores divided by its
                GPUs, the least of all nodes, since results depend on the number.
            devices: one worker each, a CPU of the cluster for ``cpu``, else a GPU. Empty: every
                GPU the cluster has or gets.
        """
        super().__init__(store, site)
        self._program = program
        self._asked = devices
        self._places: dict[str, _Place] = {}
        self._places_guard = threading.RLock()

    def start(self) -> None:
        """Join the cluster and begin to take jobs.

        Raises:
            SettingsError: Ray is not installed, or its cluster cannot be reached.
        """
        try:
            import ray
        except ImportError:
            raise SettingsError(
                "The executor ray needs the package ray, found none. "
                "Run: pip install 'segmatte[ray]'"
            ) from None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(
                configure_logging=False,
                log_to_driver=False,
                include_dashboard=False,
                ignore_reinit_error=True,
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise SettingsError(
                f"The Ray cluster cannot be joined: {_first_line(error)}. Look at RAY_ADDRESS, or "
                "start one: ray start --head"
            ) from error
        if not self._program.threads:
            self._program = replace(self._program, threads=_threads_of(ray.nodes()))
        for device in self._asked:
            self._add(device)
        self._grow()
        super().start()

    def stop(self) -> None:
        """Give jobs back to the queue, then leave the cluster."""
        import ray

        super().stop()
        for place in self._places.values():
            place.let_go()
        ray.shutdown()

    def tidy(self) -> None:
        """Also take in GPUs of nodes that have joined."""
        super().tidy()
        self._grow()

    def is_available(self, name: str) -> bool:
        """Whether a keeper's actor has its GPU; a lost actor is asked for again."""
        with self._places_guard:
            return self._places[name].is_there()

    def start_worker(self, name: str, device: str, *, listener: Listener) -> RayWorker:
        """Start a worker process beside an actor.

        Raises:
            BusyError: no device of the cluster is there now.
        """
        with self._places_guard:
            # Previews share the first device that is there, as they do on one machine.
            names = list(self._places) if name == INTERACTIVE else [name]
            place = next((self._places[n] for n in names if self._places[n].is_there()), None)
            if place is None:
                raise BusyError("No device of the cluster is there now. Try again later.")
            actor = place.actor

        def lost() -> None:
            with self._places_guard:
                if place.actor is actor:
                    place.forget()

        return RayWorker(actor, name, listener=listener, lost=lost)

    def _grow(self) -> None:
        if self._asked:
            return
        import ray

        count = int(ray.cluster_resources().get("GPU", 0))
        while len(self._places) < count:
            self._add("cuda:0")  # the only one that the actor sees

    def _add(self, device: str) -> None:
        with self._places_guard:
            name = f"ray#{len(self._places)}"
            self._places[name] = _Place(self._program, device)
        self.add_keeper(name, device)


class _Place:
    """One actor, or the wish for one while the cluster has no room."""

    def __init__(self, program: WorkerProgram, device: str) -> None:
        self.actor: Any = None
        self._program = program
        self._device = device
        self._is_there = False
        self._question: Any = None
        self._asked = 0.0

    def is_there(self) -> bool:
        """Whether the actor has its device, as far as is known; never waits for an answer."""
        import ray
        from ray.exceptions import RayError

        if self.actor is None:
            self._wish()
        ready, _ = ray.wait([self._question], timeout=0)
        if ready:
            try:
                node = ray.get(self._question)
            except RayError as error:
                _log.warning("a device of the cluster is lost: %s", _first_line(error))
                self.forget()
                return False
            if not self._is_there:
                _log.info("a device of %s is taken", node)
            self._is_there = True
            if time.monotonic() - self._asked > _ASK_SECONDS:
                self._ask()
        return self._is_there

    def forget(self) -> None:
        """The actor is lost: wish for another one."""
        self.let_go()
        self.actor, self._is_there = None, False

    def let_go(self) -> None:
        """Give the device back."""
        import ray

        if self.actor is not None:
            ray.kill(self.actor)

    def _wish(self) -> None:
        import ray

        wanted = {"num_cpus": 1} if self._device == "cpu" else {"num_cpus": 0, "num_gpus": 1}
        hand = ray.remote(Hand).options(max_concurrency=16, max_restarts=0, **wanted)
        self.actor = hand.remote(self._program, self._device)
        self._ask()

    def _ask(self) -> None:
        self._question = self.actor.node.remote()
        self._asked = time.monotonic()


def _threads_of(nodes: Sequence[Mapping[str, Any]]) -> int:
    """CPU threads of one worker, the same on all nodes."""
    having = [node["Resources"] for node in nodes if node["Alive"]]
    cores = [int(r["CPU"] / r["GPU"]) for r in having if r.get("GPU") and r.get("CPU")]
    return max(1, min(cores, default=1))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
