"""A log line is one JSON object that says which request it is about, and holds no secret."""

import io
import json
import logging
import sys
import timeit
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from serving.security.api_keys import create_key
from serving.security.principal import Role
from serving.telemetry import logs
from serving.telemetry.redaction import Redaction, secrets_of
from stack.settings import Settings

log = logging.getLogger("serving.somewhere")


@pytest.fixture
def configured(restored_logging) -> Callable[..., Callable[[], list[dict]]]:
    """Configure logging into memory; what that gives reads the lines."""

    def configure(stream: io.StringIO | None = None, **options: object) -> Callable[[], list[dict]]:
        stream = stream or io.StringIO()
        logs.configure(Settings(_env_file=None, **options), stream)  # type: ignore[arg-type]
        return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]

    return configure


def test_a_line_is_an_object_with_time_level_logger_and_message(configured):
    lines = configured()
    log.warning("%d videos", 3)
    [line] = lines()
    assert line.pop("time").endswith("Z")
    assert line == {"level": "WARNING", "logger": "serving.somewhere", "message": "3 videos"}


def test_inside_a_request_a_line_names_it_and_its_route(configured):
    lines = configured()
    scope: dict = {"path": "/videos/v1"}
    with logs.request_scope("request-1", "clients-1", scope):
        log.info("before it is matched")
        scope["route"] = type("Route", (), {"path": "/videos/{video_id}"})
        log.info("after")
    log.info("outside")
    before, after, outside = ({k: v for k, v in line.items() if k != "time"} for line in lines())
    assert before == {
        "level": "INFO", "logger": "serving.somewhere", "message": "before it is matched",
        "request_id": "request-1", "correlation_id": "clients-1",
    }  # fmt: skip
    assert after["route"] == "/videos/{video_id}"
    assert outside == {"level": "INFO", "logger": "serving.somewhere", "message": "outside"}


def test_an_exception_is_a_field(configured):
    lines = configured()
    try:
        int("no number")
    except ValueError:
        log.exception("it failed")
    [line] = lines()
    assert line["message"] == "it failed"
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("ValueError: invalid literal for int() with base 10: 'no number'")


def test_uvicorns_and_bentomls_lines_come_once_and_in_the_same_form(configured):
    for name in (
        "uvicorn",
        "uvicorn.error",
    ):  # a server that another test ran in this process may have silenced them
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).disabled = False
    for name in ("bentoml", "uvicorn.error"):
        logging.getLogger(name).addHandler(logging.StreamHandler(io.StringIO()))
        logging.getLogger(name).propagate = False
    lines = configured()
    logging.getLogger("uvicorn.error").error("from uvicorn")
    logging.getLogger("bentoml.serve").error("from bentoml")
    assert [(line["logger"], line["message"]) for line in lines()] == [
        ("uvicorn.error", "from uvicorn"),
        ("bentoml.serve", "from bentoml"),
    ]


def test_uvicorn_is_not_asked_for_a_line_a_request(configured):
    configured()
    assert not logging.getLogger("uvicorn.access").hasHandlers()


@pytest.mark.parametrize(
    ("status", "seconds", "said"), [(200, 0.4, 0), (404, 0.1, 0), (200, 0.6, 1), (500, 0.1, 1)]
)
def test_only_an_answer_that_failed_or_was_slow_has_a_line(configured, status, seconds, said):
    lines = configured()
    logs.note_answer("/feed", "GET", status, seconds)
    assert len(lines()) == said
    for line in lines():
        found = (line["route"], line["method"], line["status"], line["duration_ms"])
        assert found == ("/feed", "GET", status, seconds * 1000)


def test_the_level_is_that_of_the_settings(configured):
    lines = configured(log_level="ERROR")
    log.warning("not said")
    log.error("said")
    assert [line["message"] for line in lines()] == ["said"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "asked", "json_lines"),
    [
        (io.StringIO, None, True),
        (Terminal, None, False),
        (io.StringIO, "text", False),
        (Terminal, "json", True),
    ],
)
def test_json_where_nobody_looks_text_on_a_terminal_or_as_the_settings_say(
    configured, stream, asked, json_lines
):
    output = stream()
    configured(output, log_format=asked)
    with logs.request_scope("request-1"):
        log.warning("hello\nworld")
    [line] = output.getvalue().splitlines()
    assert line.startswith("{") is json_lines
    if not json_lines:
        assert line.endswith("WARNING serving.somewhere: hello\\nworld request_id=request-1")


def test_no_secret_of_the_settings_reaches_a_line_however_it_is_written(configured):
    lines = configured(
        jwt_secret=SecretStr("a secret of thirty-two bytes long"),
        REDIS_URL="redis://:p%2Fass%40word@redis.example:6379/0",
        DATABASE_URL="postgresql://app:correct-horse@db.example/reelgraph",
    )
    log.error(
        "%s and %s",
        "a secret of thirty-two bytes long",
        {"password": "p/ass@word"},
        extra={"url": "x p%2Fass%40word"},
    )
    try:
        int("correct-horse")
    except ValueError:
        log.exception("failed")
    text = json.dumps(lines())
    for secret in ("thirty-two", "p/ass@word", "p%2Fass%40word", "correct-horse"):
        assert secret not in text
    assert [line["level"] for line in lines()] == ["ERROR", "ERROR"]


TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://user:pa@ss@host:8123/db failed", "GET http://***@host:8123/db failed"),
        ("redis://:pw@host/0", "redis://***@host/0"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer ***"),
        (f"token {TOKEN} is no good", "token *** is no good"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("headers: {'X-API-Key': 'rk_12.abcdef'}", "headers: {'X-API-Key': ***}"),
        ('{"client_secret": "s3cr3t", "a": 1}', '{"client_secret": ***, "a": 1}'),
        ("password=hunter2&user=ann", "password=***&user=ann"),
        (
            "Cannot parse input: expected '{' before: 'ann,v1\\n': (at row 1)",
            "Cannot parse input: expected '{' before: ***: (at row 1)",
        ),
        ("?access_token=abc&limit=20", "?access_token=***&limit=20"),
        # What only looks like one stays.
        ("see http://host/users/ann@example", "see http://host/users/ann@example"),
        ("5 tokens of 6 were used", "5 tokens of 6 were used"),
        ("the bearer of news", "the bearer of news"),
        ("loaded in 0.5 s: 12 videos", "loaded in 0.5 s: 12 videos"),
    ],
)
def test_what_looks_like_a_secret_is_struck_out(text, shown):
    assert Redaction()(text) == shown


def test_a_key_of_ours_keeps_its_id_and_loses_its_secret(tmp_path):
    made, key = create_key(tmp_path / "keys.json", "app", [Role.CLIENT])
    shown = f"rgk_{made.id}_***"
    assert Redaction()(f"what is {key}, or '{key}'?") == f"what is {shown}, or '{shown}'?"


def test_the_passwords_in_urls_are_secrets_of_the_settings():
    settings = Settings(
        _env_file=None,
        CLICKHOUSE_URL="http://default:chpass@host:8123/db",
        jwt_secret=SecretStr("of-jwt, thirty-two bytes at least"),
        peertube_password=SecretStr("of-peertube"),
    )
    assert sorted(secrets_of(settings)) == [
        "chpass",
        "chpass",
        "of-jwt, thirty-two bytes at least",
        "of-peertube",
    ]


@given(st.text(), st.text(max_size=200))
def test_whatever_a_client_sends_a_line_is_one_object_on_one_line(message, correlation_id):
    formatter = logs.JsonFormatter(Redaction())
    with logs.request_scope("r", correlation_id):
        line = formatter.format(
            logging.makeLogRecord({"msg": message.replace("%", "%%"), "extra_field": {"a": message}})
        )
    assert len(line.splitlines()) == 1
    assert json.loads(line)["request_id"] == "r"


@given(
    st.text(alphabet="abcdef0123456789_-.~+", min_size=6, max_size=40).filter(lambda s: s.strip(".-~+") == s),
    st.sampled_from(
        [
            "http://user:{}@host/db", "redis://:{}@host", "password={}", "{{'password': '{}'}}", '{{"api_key": "{}"}}',
            "Authorization: Bearer {}", "X-API-Key: {}", "client_secret={}&x=1", "token='{}'", "Cookie: {}",
        ]
    ),
)  # fmt: skip
def test_a_secret_in_a_secrets_place_is_struck_out_whatever_it_is(secret, place):
    shown = Redaction()("<< " + place.format(secret) + " >>")
    assert secret not in shown
    assert shown.startswith("<< ")
    assert shown.endswith(" >>")


def test_a_long_hostile_line_is_struck_out_in_linear_time():
    redact = Redaction()
    parts = (
        "before: '",
        "password",
        "password='",
        "a://",
        "eyJaaaaa.",
        "eyJaaaaa-",
        "x-",
        "a",
        "bearer ",
        " ",
        "token :",
    )
    for hostile in (part * (200_000 // len(part)) for part in parts):
        assert min(timeit.repeat(lambda text=hostile: redact(text), number=1, repeat=2)) < 2, hostile[:20]


def test_a_request_scope_costs_microseconds():
    def use() -> None:
        with logs.request_scope("a", "b", {}):
            pass

    assert (
        min(timeit.repeat(use, number=10_000, repeat=5)) / 10_000 < 20e-6
    )  # 0.4 us; a busy machine has its day
    assert sys.getsizeof(logs.request_scope("a")) < 200
