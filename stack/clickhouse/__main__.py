"""`python -m stack.clickhouse`: serve a data folder until told to stop."""

import argparse
import logging
import sys
from pathlib import Path


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stack.clickhouse",
        description="The ClickHouse HTTP interface over chDB: one process that owns one data folder.",
    )
    parser.add_argument("--path", type=Path, required=True, help="the data folder; made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--max-memory",
        type=int,
        default=2_000_000_000,
        metavar="BYTES",
        help="of all queries (default: %(default)s)",
    )
    parser.add_argument(
        "--users-file",
        type=Path,
        help='JSON: {"name": {"password_sha256": "...", "readonly": 0}}; without it "default" needs no password',
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=10,
        metavar="SECONDS",
        help="how long a stop lets running queries finish before it cancels them (default: %(default)s)",
    )
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parsed = parser.parse_args(arguments)
    if not 0 <= parsed.port <= 65535:
        parser.error("--port must be between 0 and 65535")
    if parsed.max_memory < 100_000_000:
        parser.error("--max-memory must be at least 100000000")
    if not parsed.grace >= 0:
        parser.error("--grace must not be negative")
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 after an orderly stop, 1 (and one line on stderr) if it could not start."""
    options = _arguments(arguments)
    logging.basicConfig(
        level=options.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    import uvloop

    from stack.clickhouse.access import Users, UsersFileError
    from stack.clickhouse.app import App
    from stack.clickhouse.engine import Engine, EngineUnavailableError
    from stack.clickhouse.server import listen, serve

    try:
        users = Users.load(options.users_file)
        if users.open_to_all and options.host not in ("127.0.0.1", "::1", "localhost"):
            return _fail(f"--host {options.host}: a user without a password may only be served on loopback")
        listener = listen(options.host, options.port)
    except UsersFileError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")
    engine = Engine(options.path.absolute(), options.max_memory)
    try:
        engine.open()
    except EngineUnavailableError as error:
        listener.close()
        return _fail(str(error))
    uvloop.run(serve(App(engine, users), engine, listener, options.grace))
    return 0


def _fail(message: str) -> int:
    print(f"clickhouse: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
