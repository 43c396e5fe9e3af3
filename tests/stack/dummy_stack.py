"""A supervisor over dummies: `dummy_stack.py SERVICES.json`, settings from the environment, an impatient policy."""

import json
import sys
from pathlib import Path

from stack.health import HttpProbe
from stack.runner import Policy
from stack.service import Service
from stack.settings import load_settings
from stack.supervisor import LOG_NAME, Supervisor, log_to

QUICK = Policy(
    tick_s=0.02,
    probe_starting_s=0.05,
    probe_running_s=0.1,
    first_back_off_s=0.05,
    longest_back_off_s=0.2,
    quick_death_s=2,
    quick_deaths=3,
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


if __name__ == "__main__":
    settings = load_settings()
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    log_to(settings.logs_dir / f"{LOG_NAME}.log")
    services = [service(**each) for each in json.loads(sys.argv[1])]
    Supervisor(settings, services, QUICK).run()
