"""A supervisor with an impatient policy, settings from the environment: `dummy_stack.py` over the real services,
`dummy_stack.py SERVICES.json` over dummies.

A dummy's mode `raises` makes its every step in the supervisor raise; `full-disk` makes every copy of a log fail.
"""

import errno
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stack import log_files, supervisor
from stack.health import HttpProbe
from stack.log_files import LOG_NAME, log_to
from stack.runner import Policy, Runner
from stack.service import Service
from stack.services import declared_services
from stack.settings import load_settings
from stack.supervisor import Supervisor

QUICK = Policy(
    tick_s=0.02,
    probe_starting_s=0.05,
    probe_running_s=0.1,
    first_back_off_s=0.05,
    longest_back_off_s=0.2,
    quick_death_s=2,
    quick_deaths=3,
    given_up_retry_s=1,
)


def service(name: str, port: int, requires: tuple[str, ...], modes: list[str]) -> Service:
    script = Path(__file__).with_name("dummy_service.py")
    return Service(
        name=name,
        command=(sys.executable, str(script), str(port), *modes),
        requires=tuple(requires),
        probe=HttpProbe("127.0.0.1", port, "/health", timeout_s=0.3),
        port=port,
        url=f"http://127.0.0.1:{port}",
        stop_grace_s=0.5,
        start_timeout_s=10,
        hang_timeout_s=0.8,
    )


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class TroublesomeRunner(Runner):
    def step(self, is_well: Callable[[str], bool]) -> None:
        super().step(is_well)
        if "raises" in self.service.command:
            raise RuntimeError("of the test")


if __name__ == "__main__":
    settings = load_settings()
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    log_to(settings.logs_dir / f"{LOG_NAME}.log")
    if len(sys.argv) == 1:
        Supervisor(settings, declared_services(settings), replace(QUICK, probe_running_s=1)).run()
    else:
        dummies = json.loads(sys.argv[1])
        if any("full-disk" in each["modes"] for each in dummies):
            shutil.copyfile = no_space  # type: ignore[assignment]
            log_files.trim_logs.__defaults__ = (5000,)
        supervisor.Runner = TroublesomeRunner  # type: ignore[misc]
        Supervisor(settings, [service(**each) for each in dummies], QUICK).run()
