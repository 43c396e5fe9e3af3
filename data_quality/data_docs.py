"""Data docs: a page for each validation as Great Expectations renders it, made to work without a network, and an index.

GX's page takes its style and its scripts from half a dozen CDNs. What it says needs none of them: the references are
cut out, a small stylesheet stands in, and what would open at a click is open. And it shows values as they are, markup
included: here they are escaped first, and a content policy forbids the page to run or load anything.
"""

import html
import re
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from data_quality.gx_runner import Answer
from data_quality.report import ValidationReport

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

KEPT = 30
"""Pages of a suite; each is some 50 kB."""

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#222;background:#fff}a{color:#0a58ca}
.container-fluid{padding:0 1rem}.row{display:flex;flex-wrap:wrap}.col-12{width:100%}
.col-lg-2{width:14rem}.col-lg-10{flex:1;min-width:20rem}.navbar{padding:.5rem 1rem}
ol.breadcrumb,ul.nav{list-style:none;display:flex;gap:.5rem;padding:0;margin:0}ul.nav{flex-direction:column}
.card,.alert{border:1px solid #ddd;border-radius:.3rem;margin-bottom:.7rem}
.card-header,.alert{padding:.4rem .8rem;background:#f3f4f6}
h4,h5{margin:.3rem 0}table{border-collapse:collapse;width:100%;margin-bottom:1rem}
th,td{border-top:1px solid #ddd;padding:.35rem .6rem;text-align:left;vertical-align:top}
.badge{background:#e9ecef;border-radius:.3rem;padding:.05rem .4rem}
.text-success{color:#197b3a}.text-danger{color:#b3261e}.text-warning{color:#a05a00}
.fa-check-circle::before{content:"\\2713"}.fa-times::before,.fa-times-circle::before{content:"\\2717"}
.fa-exclamation-triangle::before{content:"\\26A0"}i{font-style:normal;font-weight:bold}
.cooltip .top,.btn-group,.navbar-brand,footer,.ge-cta-footer{display:none}.popover{display:none}
@media (prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e6}
.card-header,.alert,.badge{background:#25282d}a{color:#7db3ff}}
"""
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
_OUTSIDE = r"""["'](?:https?:)?//[^"']*["']"""
_CUT = [
    re.compile(rf"<link\b[^>]*\bhref={_OUTSIDE}[^>]*>", re.S),
    re.compile(r"<link\b[^>]*\brel=[\"']shortcut icon[\"'][^>]*>", re.S),
    re.compile(r"<script\b.*?</script>", re.S),
    re.compile(rf"<img\b[^>]*\bsrc={_OUTSIDE}[^>]*>", re.S),
    re.compile(r"<style\b.*?</style>", re.S),
    re.compile(r"<footer\b.*?</footer>", re.S),
    re.compile(
        r"<div class=\"card mb-3\">\s*<div class=\"card-header p-2\">\s*<strong>Actions</strong>"
        r".*?(?=<div class=\"card d-md-block)",
        re.S,
    ),
    re.compile(r"<a data-toggle=\"collapse\".*?</a>", re.S),
    re.compile(r"<br> Data asset: None"),
    re.compile(r"\s+on(?:click|load)=\"[^\"]*\""),
]
_DEAD_LINK = re.compile(r"<a href=\"(?:\.\./)+expectations/[^\"]*\"\s*>(.*?)</a>", re.S)
_HOME = re.compile(r"href=\"(?:\.\./)+index\.html\"")
_NAME = re.compile(r"(?P<when>\d{8}T\d{6}\.\d{3}Z)-(?P<outcome>passed|warned|failed)-[0-9a-f]{6}\.html")


def write_page(folder: Path, suite: str, answers: Sequence[Answer], report: ValidationReport) -> Path:
    """Add the page of one validation to `folder/suite`, drop all but the newest, and rewrite the index; returns it."""
    now = datetime.now(UTC)
    outcome = "failed" if not report.success else "warned" if report.warnings else "passed"
    # Two runs may end in the same millisecond.
    name = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{outcome}-{uuid4().hex[:6]}.html"
    page = folder / suite / name
    page.parent.mkdir(parents=True, exist_ok=True)
    _replace(page, _render(suite, answers, report, now))
    for old in _pages(folder / suite)[KEPT:]:
        old.unlink(missing_ok=True)
    _replace(folder / "index.html", _index(folder))
    return page


def offline(page: str) -> str:
    """The same page without a reference to anything outside of it, and without scripts."""
    for pattern in _CUT:
        page = pattern.sub("", page)
    page = _DEAD_LINK.sub(r"\1", page)
    return _HOME.sub('href="../index.html"', page).replace(
        "<head>", f"<head>{_POLICY}<style>{_STYLE}</style>", 1
    )


def _plain(value: Any) -> Any:
    """A value of a result as Python's own type, its text escaped: some of it is what users sent."""
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(value.item()) if hasattr(value, "item") else value


def _shown(answer: Answer) -> "ExpectationValidationResult":
    shown = copy(answer.result)
    shown.result = _plain(answer.result.result)
    return shown


def _render(suite: str, answers: Sequence[Answer], report: ValidationReport, now: datetime) -> str:
    from great_expectations import __version__
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    passed = sum(bool(answer.result.success) for answer in answers)
    result = ExpectationSuiteValidationResult(
        success=report.success,
        results=[_shown(answer) for answer in answers],
        suite_name=suite,
        statistics={
            "evaluated_expectations": len(answers),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(answers) - passed,
            "success_percent": 100 * passed / len(answers) if answers else 100.0,
        },
        meta={
            "run_id": RunIdentifier(run_name=report.checked_on, run_time=now),
            "great_expectations_version": __version__,
        },
    )
    return offline(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result)))


def _index(folder: Path) -> str:
    parts = [
        f"<!DOCTYPE html><html><head><meta charset='UTF-8'><title>Data docs</title><style>{_STYLE}</style></head>"
    ]
    parts.append("<body><div class='container-fluid'><h1>Data docs</h1>")
    for suite in sorted(p for p in folder.iterdir() if p.is_dir()):
        parts.append(
            f"<h4>{html.escape(suite.name)}</h4><table><tr><th>validated at</th><th>outcome</th></tr>"
        )
        for page in _pages(suite):
            said = _NAME.fullmatch(page.name)
            if said:
                when = datetime.strptime(said["when"], "%Y%m%dT%H%M%S.%fZ")  # noqa: DTZ007 - shown as it is: UTC
                link = html.escape(f"{suite.name}/{page.name}", quote=True)
                parts.append(
                    f'<tr><td><a href="{link}">{when:%Y-%m-%d %H:%M:%S} UTC</a></td><td>{said["outcome"]}</td></tr>'
                )
        parts.append("</table>")
    return "\n".join([*parts, "</div></body></html>"])


def _pages(folder: Path) -> list[Path]:
    """Newest first; files of other names are nobody's business here."""
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)


def _replace(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    draft.write_text(text)
    draft.replace(path)
