"""The job store: order, leases with fencing numbers, progress, and what a kill leaves behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from server.errors import ResourceError
from server.jobs.errors import LeaseLostError, LimitError, NotFoundError, StateError
from server.jobs.folders import JobFolder, describe_file
from server.jobs.store import Clock, Failure, NewJob, ResultFile, Store, User
from server.jobs.users import add_user, authenticate, hash_token, own_token


class HandClock(Clock):
    def __init__(self):
        self.now, self.day, self.name = 1000.0, 1.7e9, "boot-1"

    def wall(self):
        return self.day

    def steady(self):
        return self.now

    def boot(self):
        return self.name


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store(tmp_path / "jobs.sqlite", lease_seconds=60, max_crashes=3, clock=clock)
    yield store
    store.close()


def new(owner="ann", **more):
    values = {"kind": "shot", "request": "{}", "title": {"plate": "/shows/a.####.exr"}, **more}
    return NewJob(owner=owner, **values)


def nothing():
    return ()


def test_a_repeated_request_id_is_one_job(store):
    first = store.submit(new(request_id="r1"))
    assert store.submit(new(request_id="r1")).id == first.id
    assert store.submit(new(owner="bob", request_id="r1")).id != first.id
    assert len(store.jobs()) == 2


def test_a_request_id_of_another_shot_is_refused(store):
    store.submit(new(request_id="r1"))
    with pytest.raises(StateError, match="was used for another shot"):
        store.submit(new(request_id="r1", request='{"other": 1}'))


def test_jobs_are_claimed_by_priority_then_first_come_within_each_users_limit(store):
    slow = store.submit(new())
    urgent = store.submit(new(priority=10))
    second = store.submit(new())
    other = store.submit(new(owner="bob", priority=-5))
    claimed = [store.claim("w", max_running=2) for _ in range(4)]
    assert [c.job.id if c else None for c in claimed] == [urgent.id, slow.id, other.id, None]
    store.finish(claimed[0], [], place=nothing)
    assert store.claim("w", max_running=2).job.id == second.id


def test_workers_that_claim_together_get_what_each_would_have_got_alone(store):
    ids = [store.submit(new()).id for _ in range(2)] + [store.submit(new(owner="bob")).id]
    leases = store.claim_each(["one", "two", "three"], max_running=1)
    assert [lease.job.id for lease in leases] == [ids[0], ids[2]]
    assert [store.job(lease.job.id).worker for lease in leases] == ["one", "two"]


def test_queue_positions_follow_priority(store):
    first, second = store.submit(new()), store.submit(new())
    assert (store.queue_position(first), store.queue_position(second)) == (1, 2)
    second = store.set_priority(second.id, 5)
    assert store.queue_position(second) == 1
    assert store.queue_position(store.job(first.id)) == 2


def test_a_user_with_too_many_waiting_jobs_is_told_so(store):
    store.submit(new())
    with pytest.raises(LimitError, match="1 jobs of ann wait already, the limit is 1"):
        store.submit(new(), max_queued=1)


def test_an_expired_lease_gives_the_job_to_the_next_and_fences_the_old_one_off(store, clock):
    store.submit(new())
    old = store.claim("a")
    clock.now += 61
    assert store.reap() == [old.job.id]
    young = store.claim("b")
    assert young.attempt == old.attempt + 1
    placed = []
    file = ResultFile("objectid/a.1001.exr", 1, b"x" * 32, 1001)
    for act in (
        lambda: store.publish(old, [file], place=lambda: placed.append("old")),
        lambda: store.finish(old, [file], place=lambda: placed.append("old")),
        lambda: store.report(old, stage="detect", done=1, total=2),
        lambda: store.renew(old),
        lambda: store.fail(old, Failure("X", "x")),
        lambda: store.stop(old),
        lambda: store.release(old),
        lambda: store.lost(old, "x"),
    ):
        with pytest.raises(LeaseLostError, match=r"Attempt 1 of job .* was replaced"):
            act()
    store.publish(young, [file], place=lambda: placed.append("young") or ())
    assert placed == ["young"]
    assert store.job(old.job.id).state == "running"


def test_a_renewed_lease_lives_on_and_a_jump_of_the_wall_clock_changes_nothing(store, clock):
    store.submit(new())
    lease = store.claim("a")
    clock.day += 10 * 86400
    assert store.reap() == []
    clock.now += 50
    store.renew(lease)
    clock.now += 50
    clock.day -= 20 * 86400
    assert store.reap() == []
    clock.now += 11
    assert store.reap() == [lease.job.id]


def test_leases_end_with_the_boot_they_were_given_in(tmp_path, clock):
    store = Store(tmp_path / "jobs.sqlite", clock=clock)
    store.submit(new())
    store.claim("a")
    store.close()
    later = HandClock()
    later.name, later.now = "boot-2", 3.0
    store = Store(tmp_path / "jobs.sqlite", clock=later)
    assert len(store.reap()) == 1
    store.close()


def test_a_job_that_loses_its_worker_three_times_has_failed_with_the_reason(store):
    job = store.submit(new())
    for _ in range(3):
        store.lost(store.claim("a"), "The worker process was ended by signal 9.")
    job = store.job(job.id)
    assert job.state == "failed"
    assert "lost 3 times" in job.error.message
    assert "signal 9" in job.error.message
    assert job.error.retryable


def test_a_worker_that_stops_in_order_gives_its_job_back_without_counting_a_crash(store):
    job = store.submit(new())
    for _ in range(5):
        store.release(store.claim("a"))
    assert store.job(job.id).state == "queued"


def test_progress_never_falls_even_when_an_attempt_starts_again(store):
    job = store.submit(new())
    lease = store.claim("a")
    store.report(lease, stage="detect", done=7, total=10)
    store.lost(lease, "gone")
    lease = store.claim("a")
    store.report(lease, stage="detect", done=0, total=10)
    assert store.stages(job.id)[0].done == 7


def test_frames_done_counts_published_frames_once(store):
    job = store.submit(new())
    lease = store.claim("a")
    file = ResultFile("objectid/a.1001.exr", 1, b"x" * 32, 1001)
    for _ in range(2):
        store.publish(lease, [file], place=nothing)
    assert store.job(job.id).frames_done == 1
    frames = [e.frame for e in store.events(job.id) if e.kind == "frame"]
    assert frames == [1001]


def test_when_placing_fails_nothing_is_published(store):
    job = store.submit(new())
    lease = store.claim("a")

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.publish(lease, [ResultFile("a", 1, b"x" * 32, None)], place=full)
    assert store.files(job.id) == []


def test_events_are_numbered_without_gaps_and_read_from_any_number(store):
    job = store.submit(new())
    lease = store.claim("a")
    for number in range(5):
        store.tell(lease, "log", f"line {number}")
    store.finish(lease, [], place=nothing)
    events = store.events(job.id)
    assert [event.number for event in events] == list(range(1, 9))
    assert [event.number for event in store.events(job.id, after=6)] == [7, 8]
    assert events[-1].text == "done"


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(store):
    waiting = store.submit(new())
    assert store.cancel(waiting.id).state == "cancelled"
    running = store.submit(new())
    lease = store.claim("a")
    assert store.cancel(running.id).cancel_requested
    assert store.renew(lease) is True
    store.stop(lease)
    assert store.job(running.id).state == "cancelled"


def test_a_cancelled_job_whose_worker_dies_stays_cancelled(store):
    job = store.submit(new())
    lease = store.claim("a")
    store.cancel(job.id)
    store.lost(lease, "gone")
    assert store.job(job.id).state == "cancelled"


def test_only_ended_jobs_go_on_and_a_retry_forgets_what_was_done(store):
    job = store.submit(new())
    with pytest.raises(StateError, match="is queued; only a failed or cancelled job"):
        store.requeue(job.id, fresh=True)
    lease = store.claim("a")
    store.begin(lease)
    store.publish(lease, [ResultFile("objectid/a.1.exr", 1, b"x" * 32, 1)], place=nothing)
    store.fail(lease, Failure("PlateError", "gone"))
    resumed = store.requeue(job.id, fresh=False)
    assert (resumed.fresh, resumed.frames_done, resumed.error) == (False, 1, None)
    store.cancel(job.id)
    again = store.requeue(job.id, fresh=True)
    assert (again.fresh, again.frames_done) == (True, 0)


def test_a_running_job_cannot_be_removed(store):
    job = store.submit(new())
    store.claim("a")
    with pytest.raises(StateError, match=r"is running\. Cancel it first"):
        store.remove(job.id)


def test_a_draining_store_hands_out_nothing(store):
    store.submit(new())
    store.drain(True)
    assert store.claim("a") is None
    store.drain(False)
    assert store.claim("a") is not None


def test_pages_filters_and_owners_choose_jobs(store):
    ids = [store.submit(new(labels={"show": str(i % 2)})).id for i in range(5)]
    store.submit(new(owner="bob", title={"plate": "/shows/Wüste.exr"}))
    page = store.jobs(owner="ann", limit=2)
    assert [job.id for job in page] == ids[:2:-1]
    rest = store.jobs(owner="ann", before=page[-1].number)
    assert [job.id for job in rest] == ids[2::-1]
    assert len(store.jobs(labels={"show": "1"})) == 2
    assert [job.owner for job in store.jobs(text="Wüste")] == ["bob"]
    with pytest.raises(NotFoundError, match="no job"):
        store.job(ids[0], owner="bob")


def test_two_processes_never_claim_one_job(tmp_path):
    store = Store(tmp_path / "jobs.sqlite")
    for _ in range(30):
        store.submit(new())
    code = """
        import sys; from pathlib import Path; from server.jobs.store import Store
        store = Store(Path(sys.argv[1]))
        while lease := store.claim("p"):
            print(lease.job.id)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    claimed = [line for p in processes for line in p.communicate(timeout=60)[0].split()]
    assert len(claimed) == len(set(claimed)) == 30
    store.close()


@pytest.mark.parametrize("after_rename", [False, True])
def test_a_kill_while_publishing_leaves_no_row_and_the_next_attempt_publishes(
    tmp_path, after_rename
):
    store = Store(tmp_path / "jobs.sqlite")
    job = store.submit(new())
    code = f"""
        import os, sys; from pathlib import Path
        from server.jobs.store import Store
        from server.jobs.folders import JobFolder, describe_file
        store = Store(Path(sys.argv[1]))
        lease = store.claim("victim")
        folder = JobFolder(Path(sys.argv[2]), lease.job.id)
        attempt = folder.start(lease.attempt, source=None)
        store.begin(lease)
        (attempt.result / "objectid").mkdir(parents=True)
        (attempt.result / "objectid/a.1001.exr").write_bytes(b"matte")
        files = [describe_file(attempt, "objectid/a.1001.exr")]
        def place():
            if {after_rename}: folder.place(attempt, files)
            os.kill(os.getpid(), 9)
        store.publish(lease, files, place=place)
    """
    jobs = tmp_path / "jobs"
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.path), str(jobs)]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert store.files(job.id) == []
    assert store.reap(all_leases=True) == [job.id]
    lease = store.claim("next")
    folder = JobFolder(jobs, job.id)
    attempt = folder.start(lease.attempt, source=folder.last_attempt(before=lease.attempt))
    files = [describe_file(attempt, "objectid/a.1001.exr")]
    store.finish(lease, files, place=lambda: folder.place(attempt, files))
    assert (folder.result / "objectid/a.1001.exr").read_bytes() == b"matte"
    assert [file.name for file in store.files(job.id)] == ["objectid/a.1001.exr"]
    assert not list(folder.result.rglob("*.part"))
    store.close()


def test_a_stopped_process_that_wakes_up_after_its_lease_publishes_nothing(tmp_path):
    store = Store(tmp_path / "jobs.sqlite", lease_seconds=0.3)
    job = store.submit(new())
    code = """
        import sys; from pathlib import Path
        from server.jobs.store import Store, ResultFile
        from server.jobs.errors import LeaseLostError
        store = Store(Path(sys.argv[1]), lease_seconds=0.3)
        lease = store.claim("sleeper")
        print("claimed", flush=True)
        sys.stdin.readline()
        try:
            store.finish(lease, [ResultFile("a", 1, b"x" * 32, None)], place=lambda: print("BAD"))
        except LeaseLostError:
            print("fenced", flush=True)
    """
    sleeper = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sleeper.stdout.readline() == "claimed\n"
    os.kill(sleeper.pid, signal.SIGSTOP)
    waiting = threading.Event()
    while not store.reap():
        waiting.wait(0.05)
    lease = store.claim("next")
    os.kill(sleeper.pid, signal.SIGCONT)
    assert sleeper.communicate("go\n", timeout=30)[0] == "fenced\n"
    store.finish(lease, [], place=nothing)
    assert store.job(job.id).state == "done"
    assert store.files(job.id) == []
    store.close()


def test_of_writers_that_share_a_commit_only_the_one_at_fault_fails(store):
    leases = [store.claim("w") for _ in range(5) if store.submit(new())]
    ran = []
    store.release(leases[4])
    started, go = threading.Event(), threading.Event()

    def hold():
        started.set()
        go.wait(30)
        return ()

    def write(lease, place=nothing):
        try:
            store.publish(lease, [ResultFile("a", 1, b"x" * 32, 1)], place=place)
            ran.append(lease)
        except LeaseLostError:
            pass

    threads = [threading.Thread(target=write, args=(leases[0], hold))]
    threads[0].start()
    assert started.wait(30)
    threads += [threading.Thread(target=write, args=(lease,)) for lease in leases[1:]]
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert {lease.job.id for lease in ran} == {lease.job.id for lease in leases[:4]}
    assert [len(store.files(lease.job.id)) for lease in leases] == [1, 1, 1, 1, 0]


def test_a_file_whose_name_is_not_on_disk_is_no_result(store, tmp_path):
    store.submit(new())
    lease, file = store.claim("w"), ResultFile("a", 1, b"x" * 32, 1)
    with pytest.raises(ResourceError, match="cannot be written"):
        store.publish(lease, [file], place=lambda: [tmp_path / "gone"])
    assert store.files(lease.job.id) == []
    store.publish(lease, [file], place=lambda: [tmp_path])
    assert store.job(lease.job.id).frames_done == 1


def test_tokens_are_hashed_at_rest_and_found_again(store):
    token = add_user(store, "ann", groups=["comp"])
    assert authenticate(store, f"Bearer {token}") == User("ann", False, ("comp",))
    stored = store.path.read_bytes() + store.path.with_name("jobs.sqlite-wal").read_bytes()
    assert token.encode() not in stored
    assert hash_token(token) in stored
    assert store.path.stat().st_mode & 0o077 == 0


def test_the_servers_own_token_is_private_from_its_first_moment_and_kept(store, tmp_path):
    path = own_token(store, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_token(store, tmp_path).read_text() == path.read_text()
    assert authenticate(store, f"Bearer {path.read_text().strip()}").is_admin
    path.chmod(0o644)
    with pytest.raises(Exception, match="readable by its owner alone"):
        own_token(store, tmp_path)
