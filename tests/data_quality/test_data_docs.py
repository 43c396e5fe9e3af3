"""Pages that work without a network, hold what users sent as text, and do not pile up."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_quality import data_docs
from data_quality.data_docs import offline, write_page
from data_quality.expectations import validate_training_set
from data_quality.gx_runner import failures_of, run_in_memory
from data_quality.report import ValidationReport
from data_quality.suites.base import between, mean_between, not_empty, one_of
from data_quality.training_set_suite import Statement

HOSTILE = "<img src=x onerror=alert(1)>"


def write(folder: Path, statements: list[Statement], suite: str = "things", **columns: list[Any]) -> Path:
    frame = pd.DataFrame(columns)
    answers = run_in_memory(frame, statements)
    report = ValidationReport.of(len(answers), failures_of(answers), {}, f"all {len(frame)} rows")
    return write_page(folder, suite, answers, report)


def test_a_page_says_what_was_expected_and_found_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    statements = [between("n_is_small", "n", 0, 3), mean_between("n_is_1", "n", 0, 1), not_empty()]
    page = write(tmp_path, statements, n=[1, 2, 9])
    text = page.read_text()
    assert "-failed-" in page.name
    assert "n is small (error; min_value 0, max_value 3)" in text
    assert "1 unexpected values found" in text
    assert "all 3 rows" in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert 'href="../index.html"' in text


def test_what_users_sent_is_shown_as_text(tmp_path: Path) -> None:
    text = write(tmp_path, [one_of("known", "v", ["a"])], v=[HOSTILE, "a"]).read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert HOSTILE not in text


def test_the_index_has_the_newest_first_with_their_outcomes(tmp_path: Path) -> None:
    passed = write(tmp_path, [not_empty()], n=[1])
    warned = write(tmp_path, [one_of("known", "n", [2], severity="warning")], n=[1])
    other = write(tmp_path, [one_of("known", "n", [2])], suite="a<b", n=[1])
    text = (tmp_path / "index.html").read_text()
    assert [page.name.split("-")[1] for page in (passed, warned, other)] == ["passed", "warned", "failed"]
    assert text.index(warned.name) < text.index(passed.name)
    assert "<h4>a&lt;b</h4>" in text
    assert sorted(p.name for p in (tmp_path / "things").iterdir()) == sorted([passed.name, warned.name])


def test_only_the_newest_pages_of_a_suite_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_docs, "KEPT", 2)
    kept_elsewhere = write(tmp_path, [not_empty()], suite="other", n=[1])
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "notes.txt").write_text("mine")
    pages = [write(tmp_path, [not_empty()], n=[1]) for _ in range(4)]
    assert [page.exists() for page in pages] == [False, False, True, True]
    assert kept_elsewhere.exists()
    assert (tmp_path / "things" / "notes.txt").read_text() == "mine"
    assert pages[0].name not in (tmp_path / "index.html").read_text()


def test_whatever_comes_from_outside_is_cut_out() -> None:
    page = (
        "<html><head><link rel='stylesheet' href='https://cdn/x.css'><script src='//cdn/x.js'></script></head>"
        '<body onload="go()"><img src="https://cdn/logo.png"><a href="../../../../expectations/s.html" >s</a>'
        '<a href="../../../../index.html">Home</a></body></html>'
    )
    body = offline(page).split("</style></head>")[-1]
    assert "cdn" not in offline(page)
    assert body.endswith('<body>s<a href="../index.html">Home</a></body></html>')


def test_a_training_set_has_its_page(make_interactions: Any, tmp_path: Path) -> None:
    meta = {
        "as_of": "2022-05-08T12:00:00.000Z",
        "window_start": "2022-02-07T12:00:00.000Z",
        "min_watch_time_ratio": 0.1,
    }
    report = validate_training_set(make_interactions(6, rating=[7.0] * 6), meta, docs=tmp_path)
    assert report.data_docs is not None
    assert report.data_docs.parent == tmp_path / "training_set"
    assert "rating is on the scale (error" in report.data_docs.read_text()
