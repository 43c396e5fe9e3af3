"""The supervisor keeps dummies running: order, restarts, hangs, crash loops, and a stop that leaves nothing."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from stack import control
from stack.run_files import run_dir, want_services
from stack.settings import child_environment


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def get(number: int, path: str = "/health") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def lines_with(text: str, word: str) -> list[int]:
    return [i for i, line in enumerate(text.splitlines()) if word in line]


def test_a_service_starts_after_what_it_requires_is_healthy_and_stops_before_it(dummy_stack: Any) -> None:
    first, second = port(), port()
    dummy_stack.start(
        {"name": "second", "port": second, "requires": ["first"]}, {"name": "first", "port": first}
    )
    dummy_stack.wait_state("second", "healthy")
    assert (get(first), get(second)) == (200, 200)
    dummy_stack.supervisor.terminate()
    assert dummy_stack.supervisor.wait(10) == 0
    events = [line.split(None, 3)[3] for line in dummy_stack.log().splitlines()]
    names = [e.split(" (")[0].split(" after")[0] for e in events]
    assert names == [
        "supervisor started",
        *("first: started", "first: healthy", "second: started", "second: healthy"),
        *("second: stopped", "first: stopped"),
        "supervisor stopped",
    ]
    assert dummy_stack.processes() == []


@pytest.mark.parametrize("victim", ["lower", "upper"])
def test_a_killed_service_is_restarted_and_said_to_be(dummy_stack: Any, victim: str) -> None:
    dummy_stack.start(
        {"name": "lower", "port": port()}, {"name": "upper", "port": port(), "requires": ["lower"]}
    )
    dummy_stack.wait_state("upper", "healthy")
    pid = dummy_stack.service(victim)["pid"]
    os.kill(pid, signal.SIGKILL)
    dummy_stack.wait_state(victim, "healthy", restarts=1)
    now = dummy_stack.service(victim)
    assert now["pid"] != pid
    assert (now["restarts"], now["last_exit"]) == (1, "killed by SIGKILL")
    assert f"{victim}: killed by SIGKILL; restart 1 in" in dummy_stack.log()


def test_what_a_killed_service_leaves_is_ended_before_its_restart(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "parent", "port": port(), "modes": ["family"]})
    dummy_stack.wait_state("parent", "healthy")
    dummy_stack.wait(lambda: len(dummy_stack.processes()) == 3)
    before = {p.pid for p in dummy_stack.processes()}
    os.kill(dummy_stack.service("parent")["pid"], signal.SIGKILL)
    dummy_stack.wait_state("parent", "healthy", restarts=1)
    dummy_stack.wait(lambda: len(dummy_stack.processes()) == 3)
    assert before.isdisjoint({p.pid for p in dummy_stack.processes()})


def test_dead_orphans_are_collected_by_the_supervisor(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "parent", "port": port(), "modes": ["family"]})
    dummy_stack.wait_state("parent", "healthy")
    dummy_stack.wait(lambda: len(dummy_stack.processes()) == 3)
    supervisor = psutil.Process(dummy_stack.supervisor.pid)
    own = {dummy_stack.service("parent")["pid"]}
    adopted = [p for p in supervisor.children() if p.pid not in own and p in dummy_stack.processes()]
    assert len(adopted) == 1
    adopted[0].kill()
    dummy_stack.wait(lambda: not psutil.pid_exists(adopted[0].pid))
    assert dummy_stack.service("parent")["state"] == "healthy"


def test_a_hung_service_is_restarted_with_the_reason(dummy_stack: Any) -> None:
    number = port()
    dummy_stack.start({"name": "web", "port": number})
    dummy_stack.wait_state("web", "healthy")
    get(number, "/hang")
    dummy_stack.wait_state("web", "healthy", restarts=1)
    assert dummy_stack.service("web")["last_exit"] == "no answer for 0.8 s: no answer in time"
    assert "web: does not answer: no answer in time" in dummy_stack.log()


def test_a_stopped_process_counts_as_hung_and_is_killed(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "web", "port": port()})
    dummy_stack.wait_state("web", "healthy")
    os.kill(dummy_stack.service("web")["pid"], signal.SIGSTOP)
    dummy_stack.wait_state("web", "healthy", restarts=1)
    assert "web: did not stop in time, killed" in dummy_stack.log()


def test_a_crash_loop_is_given_up_and_the_others_go_on(dummy_stack: Any) -> None:
    dummy_stack.start(
        {"name": "broken", "port": port(), "modes": ["crash"]},
        {"name": "waiting", "port": port(), "requires": ["broken"]},
        {"name": "fine", "port": port()},
    )
    dummy_stack.wait_state("broken", "failed")
    dummy_stack.wait_state("fine", "healthy")
    broken = dummy_stack.service("broken")
    assert broken["detail"] == "gave up after 3 deaths in a row, the last: exit code 3"
    assert broken["restarts"] == 2
    assert dummy_stack.service("waiting")["detail"] == "waits for broken"
    log = (dummy_stack.settings.logs_dir / "broken.log").read_text()
    assert log.count("the reason is written here") == 3


def test_hangup_retries_what_was_given_up_as_patiently_as_at_first(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "broken", "port": port(), "modes": ["crash"]})
    dummy_stack.wait_state("broken", "failed")
    dummy_stack.supervisor.send_signal(signal.SIGHUP)
    dummy_stack.wait(lambda: dummy_stack.log().count("gave up after 3 deaths in a row") == 2)


def test_what_was_given_up_is_tried_once_in_a_while_and_counts_as_failed_until_it_is_well(
    dummy_stack: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    dummy_stack.start(
        {"name": "broken", "port": port(), "modes": [f"needs={marker}"]},
        {"name": "upper", "port": port(), "requires": ["broken"]},
    )
    dummy_stack.wait_state("broken", "failed")
    states = set()

    def tried_again() -> bool:
        states.add(dummy_stack.service("broken")["state"])
        return "gave up after 4 deaths in a row, the last: exit code 1" in dummy_stack.log()

    dummy_stack.wait(tried_again)
    assert states == {"failed"}
    assert "next try in 1 s" in dummy_stack.log()
    marker.touch()
    dummy_stack.wait_state("upper", "healthy")
    assert dummy_stack.service("broken")["state"] == "healthy"
    assert dummy_stack.service("broken")["detail"] == ""


def test_trouble_with_one_service_inside_the_supervisor_ends_neither_it_nor_the_others(
    dummy_stack: Any,
) -> None:
    dummy_stack.start(
        {"name": "odd", "port": port(), "modes": ["raises"]},
        {"name": "fine", "port": port()},
    )
    dummy_stack.wait_state("fine", "healthy")
    os.kill(dummy_stack.service("fine")["pid"], signal.SIGKILL)
    dummy_stack.wait_state("fine", "healthy", restarts=1)
    assert dummy_stack.service("odd")["detail"] == "RuntimeError: of the test"
    log = dummy_stack.log()
    assert log.count("odd failed; the others go on") == 1  # not at every tick
    assert "Traceback" in log
    dummy_stack.supervisor.terminate()
    assert dummy_stack.supervisor.wait(10) == 0
    assert dummy_stack.processes() == []


def test_a_full_disk_and_a_vanished_log_leave_the_stack_up(dummy_stack: Any) -> None:
    logs = dummy_stack.settings.logs_dir
    logs.mkdir(parents=True)
    (logs / "gone.log").symlink_to(logs / "nowhere")
    (logs / "long.log").write_text("x" * 6000)
    dummy_stack.start({"name": "web", "port": port(), "modes": ["full-disk"]})
    dummy_stack.wait_state("web", "healthy")
    assert (logs / "long.log").read_text() == ""
    assert f"no older copy of {logs}/long.log: [Errno 28] No space left on device" in dummy_stack.log()
    assert "Traceback" not in dummy_stack.log()


def test_a_service_nobody_declared_is_said_and_the_others_start(dummy_stack: Any) -> None:
    run_dir(dummy_stack.settings).mkdir(parents=True)
    want_services(dummy_stack.settings, ["web", "kafka"])
    dummy_stack.start({"name": "web", "port": port()})
    dummy_stack.wait_state("web", "healthy")
    assert "asked for kafka, which this supervisor does not know" in dummy_stack.log()
    with pytest.raises(
        control.StartFailedError, match=r"the running stack has no .*redis: .* settings or code"
    ):
        control.up(dummy_stack.settings, ["redis"])
    assert dummy_stack.service("web")["state"] == "healthy"


def test_a_service_that_fails_once_recovers(dummy_stack: Any, tmp_path: Path) -> None:
    once = f"fails-once={tmp_path / 'marker'}"
    dummy_stack.start({"name": "shaky", "port": port(), "modes": [once]})
    dummy_stack.wait_state("shaky", "healthy", restarts=1)
    assert dummy_stack.service("shaky")["last_exit"] == "exit code 1"


def test_one_that_ignores_sigterm_is_killed_after_its_grace(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "stubborn", "port": port(), "modes": ["stubborn"]})
    dummy_stack.wait_state("stubborn", "healthy")
    dummy_stack.supervisor.terminate()
    assert dummy_stack.supervisor.wait(10) == 0
    assert "stubborn: did not stop in time, killed" in dummy_stack.log()
    assert dummy_stack.processes() == []


def test_sigterm_leaves_no_process_of_a_family(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "parent", "port": port(), "modes": ["family"]})
    dummy_stack.wait_state("parent", "healthy")
    dummy_stack.wait(lambda: len(dummy_stack.processes()) == 3)
    dummy_stack.supervisor.send_signal(signal.SIGINT)
    assert dummy_stack.supervisor.wait(10) == 0
    assert dummy_stack.processes() == []


def test_a_supervisor_killed_with_9_leaves_no_orphan(dummy_stack: Any) -> None:
    dummy_stack.start(
        {"name": "parent", "port": port(), "modes": ["family"]},
        {"name": "plain", "port": port()},
    )
    dummy_stack.wait_state("plain", "healthy")
    dummy_stack.wait(lambda: len(dummy_stack.processes()) == 4)
    dummy_stack.supervisor.kill()
    dummy_stack.supervisor.wait()
    dummy_stack.wait(lambda: dummy_stack.processes() == [], 10)
    dummy_stack.wait(lambda: "the supervisor died; ended the" in dummy_stack.log())


def test_a_second_supervisor_of_the_same_home_refuses(dummy_stack: Any) -> None:
    dummy_stack.start({"name": "web", "port": port()})
    dummy_stack.wait_state("web", "healthy")
    done = subprocess.run(
        [sys.executable, "-m", "stack.supervisor", "--foreground"],
        env=child_environment(dummy_stack.settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert f"a supervisor already serves {dummy_stack.settings.home}" in done.stderr
    assert dummy_stack.service("web")["state"] == "healthy"


def test_two_stacks_do_not_touch_each_other(dummy_stack: Any, second_dummy_stack: Any) -> None:
    dummy_stack.start({"name": "web", "port": port()})
    second_dummy_stack.start({"name": "web", "port": port()})
    dummy_stack.wait_state("web", "healthy")
    second_dummy_stack.wait_state("web", "healthy")
    pid = second_dummy_stack.service("web")["pid"]
    dummy_stack.supervisor.kill()
    dummy_stack.supervisor.wait()
    dummy_stack.wait(lambda: dummy_stack.processes() == [])
    assert [p.pid for p in second_dummy_stack.processes()] == [pid]
    assert second_dummy_stack.service("web")["restarts"] == 0


def is_watchdog(process: psutil.Process) -> bool:
    try:
        return "stack.watchdog" in process.cmdline()
    except psutil.NoSuchProcess:  # dead, perhaps not yet collected
        return False


def test_a_dead_watchdog_is_replaced(dummy_stack: Any, eventually: Callable[..., None]) -> None:
    dummy_stack.start({"name": "web", "port": port()})
    dummy_stack.wait_state("web", "healthy")
    supervisor = psutil.Process(dummy_stack.supervisor.pid)

    def watchdogs() -> list[psutil.Process]:
        return [p for p in supervisor.children() if is_watchdog(p)]

    (before,) = watchdogs()
    before.kill()
    eventually(lambda: [p.pid for p in watchdogs() if p.pid != before.pid])
    assert "watchdog died; started again" in dummy_stack.log()


def test_services_inherit_no_ignored_signal(dummy_stack: Any) -> None:
    """A supervisor started with `&` from a script ignores SIGINT; Dagster's processes must not."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        dummy_stack.start({"name": "web", "port": port()})
    finally:
        signal.signal(signal.SIGINT, before)
    dummy_stack.wait_state("web", "healthy")
    status = Path(f"/proc/{dummy_stack.service('web')['pid']}/status").read_text()
    ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
    interrupt = 1 << (signal.SIGINT - 1)
    assert ignored & interrupt == 0
