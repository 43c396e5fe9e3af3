"""The endpoint's JSON lines are shown as text; whatever is none stays as it is."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.telemetry.logs import JsonFormatter, request_scope
from serving.telemetry.redaction import Redaction
from stack.log_lines import readable


def test_a_record_is_a_line_of_text_and_its_traceback():
    line = json.dumps(
        {
            "time": "2026-01-02T03:04:05.678Z", "level": "ERROR", "logger": "serving.gateway", "message": "it\nfailed",
            "request_id": "r1", "status": 500, "exception": "Traceback\n  here\nValueError: no",
        }
    )  # fmt: skip
    assert readable(line) == [
        "2026-01-02T03:04:05.678Z ERROR   serving.gateway: it\\nfailed request_id=r1 status=500",
        "Traceback",
        "  here",
        "ValueError: no",
    ]


def test_what_the_endpoint_writes_is_what_is_read():
    with request_scope("r1"):
        record = logging.makeLogRecord({"name": "serving", "levelname": "INFO", "msg": "hello"})
        [line] = readable(JsonFormatter(Redaction()).format(record))
    assert line.endswith("INFO    serving: hello request_id=r1")


@pytest.mark.parametrize(
    "line", ["", "LOG:  ready", "{", '{"a": 1}', "[1]", '{"time": 1', "{'time': 1}", "null"]
)
def test_any_other_line_stays(line):
    assert readable(line) == [line]


@given(st.text())
def test_no_line_is_too_odd_to_show(text):
    assert readable(text)
    assert readable("{" + text)
    assert readable(json.dumps({"time": text, "message": text, "level": text, "exception": text}))
