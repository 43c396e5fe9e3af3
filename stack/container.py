"""One service of ours in the foreground, as a container runs it: the same declarations that `up` supervises.

`python -m stack.container run NAME` becomes the service, `check NAME` asks whether it is well (for the container's
health check), `exec COMMAND...` runs anything else with the environment a service gets.
"""

import os
import sys
from collections.abc import Sequence

from stack.service import Service, UnknownServiceError
from stack.services import declared_services
from stack.settings import Settings, SettingsError, child_environment, load_settings

USAGE = "usage: python -m stack.container run NAME | check NAME | exec COMMAND [ARGUMENT...]"
FAILED, WRONG_USAGE = 1, 2


def find_service(settings: Settings, name: str) -> Service:
    """The declared service of this name; raises `UnknownServiceError` that lists those there are."""
    services = {service.name: service for service in declared_services(settings)}
    if name not in services:
        raise UnknownServiceError(
            f"no service {name!r} with these settings; there are: {', '.join(services)}"
        )
    return services[name]


def run(settings: Settings, name: str) -> None:
    """Become the service; does not return. It gets the container's signals itself, being the same process."""
    service = find_service(settings, name)
    settings.home.mkdir(parents=True, exist_ok=True)
    if service.prepare is not None:
        service.prepare()
    if service.cwd is not None:
        os.chdir(service.cwd)
    _become(service.command, {**child_environment(settings), **service.environment})


def check(settings: Settings, name: str) -> str | None:
    """What is wrong with the service in this container, or None."""
    return find_service(settings, name).probe.check()


def _become(command: Sequence[str], environment: dict[str, str]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), environment)  # noqa: S606 - a container's entry point is an exec


def main(arguments: Sequence[str]) -> int:
    try:
        settings = load_settings()
        match list(arguments):
            case ["run", name]:
                run(settings, name)
            case ["exec", command, *rest]:
                _become([command, *rest], child_environment(settings))
            case ["check", name]:
                trouble = check(settings, name)
                if trouble is not None:
                    print(f"{name}: {trouble}", file=sys.stderr)
                    return FAILED
            case _:
                print(USAGE, file=sys.stderr)
                return WRONG_USAGE
    except (SettingsError, UnknownServiceError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
