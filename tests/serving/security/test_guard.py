"""The layer in front of the app: limits, origins, headers, the rate limit, and the development switch."""

import logging
import re
from collections.abc import Iterator

import pytest
from starlette.testclient import WebSocketDisconnect

from serving import schemas
from serving.security import gate
from serving.security.api_keys import create_key, keys_file
from serving.security.principal import Role
from serving.security.request_head import MAX_ADDRESS_BYTES, MAX_HEAD_BYTES
from tests.serving.security.issuer import claims_of, hs256, rs256

FEED = "/api/v1/recommendations/feed"
ANN = {"user_id": "ann"}


def bearer(user: str = "ann", *roles: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {rs256(claims_of(user, roles or ('client',)))}"}


def problem_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    schemas.Problem.model_validate(body)
    assert (body["status"], body["request_id"]) == (status, response.headers["x-request-id"])
    return body


# --- Credentials --------------------------------------------------------------------------------------------


def test_without_a_credential_one_is_asked_for(app_of, closed):
    client, _ = app_of(closed)
    response = client.get(FEED, params=ANN)
    assert problem_of(response, 401)["detail"] == "a bearer token or an API key is needed"
    assert response.headers["www-authenticate"] == 'Bearer realm="reelgraph", ApiKey'


def test_a_bad_token_is_told_apart_from_an_expired_one_and_nothing_more(app_of, closed):
    client, _ = app_of(closed)
    for token, detail in [
        (rs256(claims_of(exp=1)), "the token has expired"),
        (rs256(claims_of(aud="x")), "the token is not valid"),
        (rs256(claims_of(), key="theirs"), "the token is not valid"),
    ]:
        response = client.get(FEED, params=ANN, headers={"Authorization": f"Bearer {token}"})
        assert problem_of(response, 401)["detail"] == detail
        challenge = response.headers["www-authenticate"]
        assert challenge == f'Bearer realm="reelgraph", error="invalid_token", error_description="{detail}"'


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(app_of, closed, scheme):
    client, _ = app_of(closed)
    headers = {"Authorization": f"{scheme}  {rs256(claims_of())}"}
    assert client.get(FEED, params=ANN, headers=headers).status_code == 503


@pytest.mark.parametrize("value", ["Basic YW5uOmFubg==", "Bearer", "", "Token x", "x" * 9000])
def test_any_other_authorization_proves_nothing(app_of, closed, value):
    client, _ = app_of(closed)
    assert client.get(FEED, params=ANN, headers={"Authorization": value}).status_code == 401


def test_two_credentials_are_one_too_many(app_of, closed):
    client, _ = app_of(closed)
    _, key = create_key(keys_file(closed), "web", [Role.CLIENT])
    response = client.get(FEED, params=ANN, headers={**bearer(), "X-API-Key": key})
    assert problem_of(response, 401)["detail"] == "send one credential, not several"


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_key_is_taken_in_either_header(app_of, closed, header):
    client, state = app_of(closed)
    _, key = create_key(keys_file(closed), "web", [Role.CLIENT])
    state.security.keys.refresh()
    headers = {header: key if header == "X-API-Key" else f"ApiKey {key}"}
    assert client.get(FEED, params=ANN, headers=headers).status_code == 503
    assert client.get(FEED, params=ANN, headers={header: headers[header] + "x"}).status_code == 401


def test_hs256_is_taken_when_the_settings_say_so_and_rs256_is_not(app_of, home):
    from pydantic import SecretStr

    from tests.serving.security.issuer import SECRET

    secret = {"jwt_algorithm": "HS256", "jwt_secret": SecretStr(SECRET), "development": False}
    client, _ = app_of(home.model_copy(update=secret))
    good = {"Authorization": f"Bearer {hs256(claims_of())}"}
    assert client.get(FEED, params=ANN, headers=good).status_code == 503
    assert client.get(FEED, params=ANN, headers=bearer()).status_code == 401


def test_the_principal_is_the_routes_to_ask(app_of, closed):
    from starlette.requests import Request

    _, state = app_of(closed)
    admitted, _ = state.security.admit(*_asked(rs256(claims_of("ann"))))
    request = Request({"type": "http", "state": {"principal": admitted}, "headers": []})
    assert state.security.may_act_for(request, "ann")
    assert not state.security.may_act_for(request, "bob")
    assert not state.security.may_act_for(Request({"type": "http", "state": {}, "headers": []}), "ann")


def _asked(token):
    from serving.security.policy import Policy
    from serving.security.request_head import read_head

    return Policy().rule("GET", FEED), read_head([(b"authorization", b"Bearer " + token.encode())]), "::1"


# --- Rate limits --------------------------------------------------------------------------------------------


def test_a_user_is_limited_and_told_when_to_come_back(app_of, closed):
    client, _ = app_of(closed.model_copy(update={"rate_limit_per_minute": 3}))
    left = []
    for _ in range(3):
        response = client.get(FEED, params=ANN, headers=bearer())
        left.append(response.headers["ratelimit-remaining"])
        assert (response.headers["ratelimit-limit"], response.headers["ratelimit-reset"]) == ("3", "60")
    assert left == ["2", "1", "0"]
    response = client.get(FEED, params=ANN, headers=bearer())
    assert problem_of(response, 429)["detail"] == "more than 3 requests in a minute"
    assert 1 <= int(response.headers["retry-after"]) <= 65
    assert response.headers["ratelimit-remaining"] == "0"
    assert client.get(FEED, params={"user_id": "bob"}, headers=bearer("bob")).status_code == 503


def test_another_token_of_the_same_user_does_not_make_a_new_limit(app_of, closed):
    client, _ = app_of(closed.model_copy(update={"rate_limit_per_minute": 1}))
    tokens = [rs256(claims_of("ann", jti=str(i))) for i in range(2)]
    statuses = [
        client.get(FEED, params=ANN, headers={"Authorization": f"Bearer {token}"}).status_code
        for token in tokens
    ]
    assert statuses == [503, 429]


def test_a_service_may_ask_for_many_users(app_of, closed):
    client, state = app_of(closed.model_copy(update={"rate_limit_per_minute": 1}))
    _, key = create_key(keys_file(closed), "web", [Role.CLIENT])
    state.security.keys.refresh()
    statuses = [
        client.get(FEED, params=ANN, headers={"X-API-Key": key}).status_code
        for _ in range(gate.SERVICE_MULTIPLE + 1)
    ]
    assert statuses == [503] * gate.SERVICE_MULTIPLE + [429]


def test_guessing_is_slowed_down_by_address_and_hurts_no_good_token(app_of, closed, monkeypatch):
    monkeypatch.setattr(gate, "FAILURES_PER_MINUTE", 3)
    client, _ = app_of(closed)
    assert client.get(FEED, params=ANN, headers=bearer()).status_code == 503  # seen once
    bad = {"Authorization": "Bearer x.y.z"}
    statuses = [client.get(FEED, params=ANN, headers=bad).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    response = client.get(FEED, params=ANN, headers={"X-API-Key": "rgk_x_y"})
    assert problem_of(response, 429)["detail"] == "too many bad credentials from this address"
    assert 1 <= int(response.headers["retry-after"]) <= 65
    assert client.get(FEED, params=ANN, headers=bearer()).status_code == 503
    never_seen = bearer("bob")
    assert client.get(FEED, params={"user_id": "bob"}, headers=never_seen).status_code == 503
    assert client.get(FEED, params=ANN).status_code == 401  # no credential is no guess
    forged = {"Authorization": f"Bearer {rs256(claims_of(), key='theirs')}"}
    assert client.get(FEED, params=ANN, headers=forged).status_code == 429


def test_tokens_of_ours_that_expired_are_no_guesses_however_many(app_of, closed, monkeypatch):
    monkeypatch.setattr(gate, "FAILURES_PER_MINUTE", 3)
    client, _ = app_of(closed)
    for number in range(10):
        late = {"Authorization": f"Bearer {rs256(claims_of(f'u{number}', exp=1))}"}
        assert (
            problem_of(client.get(FEED, params=ANN, headers=late), 401)["detail"] == "the token has expired"
        )
    theirs = {
        "Authorization": f"Bearer {rs256(claims_of(exp=1), key='theirs')}"
    }  # expired, and not signed by us
    statuses = [client.get(FEED, params=ANN, headers=theirs).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "unix", False),
    ],
)
def test_addresses_are_limited_by_network(one, other, same):
    assert (gate._network(one) == gate._network(other)) is same


# --- What a request may weigh -------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_long_is_not_read(app_of, closed):
    client, _ = app_of(closed.model_copy(update={"max_body_bytes": 1000}))
    response = client.post(FEED, content=b"x" * 1001, headers=bearer())
    assert problem_of(response, 413)["detail"] == "the body is longer than 1000 bytes"
    assert response.headers["connection"] == "close"
    assert client.post(FEED, json={"user_id": "a" * 128}, headers=bearer("a" * 128)).status_code == 503


def test_a_body_without_a_length_is_counted_as_it_comes(app_of, closed):
    client, _ = app_of(closed.model_copy(update={"max_body_bytes": 1000}))

    def endless() -> Iterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    response = client.post(FEED, content=endless(), headers={**bearer(), "content-type": "application/json"})
    assert problem_of(response, 413)["detail"] == "the body is longer than 1000 bytes"


@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "ten", "9" * 30])
def test_a_length_that_is_none_is_refused(app_of, closed, length):
    client, _ = app_of(closed)
    response = client.post(FEED, content=b"{}", headers={**bearer(), "content-length": length})
    problem_of(response, 413 if length == "9" * 30 else 400)


def test_an_upload_may_be_longer_than_other_bodies(app_of, closed):
    client, state = app_of(closed.model_copy(update={"max_body_bytes": 1000, "max_upload_bytes": 1_000_000}))
    _, key = create_key(keys_file(closed), "web", [Role.CLIENT])
    state.security.keys.refresh()
    long, too_long = b"x" * 100_000, b"x" * 2_000_001
    assert client.post("/api/v1/videos", content=long, headers={"X-API-Key": key}).status_code != 413
    problem_of(client.post("/api/v1/videos", content=too_long, headers={"X-API-Key": key}), 413)


def test_a_long_address_or_head_is_refused_before_anything_else(app_of, closed):
    client, _ = app_of(closed)
    problem_of(client.get(FEED, params={"user_id": "x" * MAX_ADDRESS_BYTES}), 414)
    problem_of(client.get("/health", headers={"x-long": "x" * MAX_HEAD_BYTES}), 431)
    problem_of(client.get("/health", headers=[(f"x-{i}", "1") for i in range(101)]), 431)


# --- Origins ------------------------------------------------------------------------------------------------

APP_PAGE, EVIL = "https://app.example", "https://evil.example"


@pytest.fixture
def cross(app_of, closed):
    origins = f"{APP_PAGE}, https://www.app.example"
    return app_of(closed.model_copy(update={"cors_origins": origins}))[0]


def preflight(client, origin):
    return client.options(FEED, headers={"Origin": origin, "Access-Control-Request-Method": "GET"})


def test_a_preflight_of_an_allowed_page_needs_no_credential(cross):
    response = preflight(cross, APP_PAGE)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == APP_PAGE
    assert "Authorization" in response.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in response.headers
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize("origin", [EVIL, "null", "*", APP_PAGE + ".evil.example", "http://app.example", ""])
def test_a_preflight_of_any_other_page_is_refused(cross, origin):
    response = preflight(cross, origin)
    problem_of(response, 403)
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_an_allowed_page_may_read_the_answer_also_one_that_refuses(cross):
    for headers, status in ((bearer(), 503), ({}, 401)):
        response = cross.get(FEED, params=ANN, headers={**headers, "Origin": APP_PAGE})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == APP_PAGE
        assert "X-Request-ID" in response.headers["access-control-expose-headers"]
        assert response.headers["vary"] == "Origin"
    other = cross.get(FEED, params=ANN, headers={**bearer(), "Origin": EVIL})
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "Origin"


def test_without_a_list_no_page_of_another_origin_may_ask(app_of, closed):
    client, _ = app_of(closed)
    problem_of(preflight(client, APP_PAGE), 403)
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": APP_PAGE}).headers


# --- Headers of every answer --------------------------------------------------------------------------------


def test_every_answer_has_the_headers_also_one_about_a_fault(app_of, closed):
    client, state = app_of(closed)

    class Broken:
        @property
        def current(self):
            raise RuntimeError("secret detail")

    state.live = Broken()
    fault = client.get(FEED, params=ANN, headers=bearer())
    assert problem_of(fault, 500)["detail"] == "the request could not be answered"
    for response in (fault, client.get("/health"), client.get("/nope"), client.get(FEED)):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert response.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in response.headers
        assert "x-reelgraph-development" not in response.headers
        assert "server" not in response.headers


def test_pages_may_load_their_own_files_and_run_nothing_inline(app_of, closed):
    client, _ = app_of(closed.model_copy(update={"peertube_url": "http://peertube.example:9000"}))
    page = client.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: https: http://peertube.example:9000"
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'",) * 3
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page.text)
    assert "SwaggerUIBundle({" in client.get("/docs/page.js").text


def test_hsts_is_said_over_tls_only(app_of, closed, tmp_path):
    changes = {"tls_certificate_file": tmp_path / "c", "tls_key_file": tmp_path / "k"}
    client, _ = app_of(closed.model_copy(update=changes))
    assert client.get("/health").headers["strict-transport-security"].startswith("max-age=63072000")


def test_a_websocket_is_never_opened(app_of, closed):
    client, _ = app_of(closed)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/anything"):
        pass


# --- The switch, and its absence ----------------------------------------------------------------------------


def test_the_development_switch_opens_everything_and_says_so_in_every_answer(app_of, home, caplog):
    client, state = app_of(home.model_copy(update={"rate_limit_per_minute": 1}))
    for response in [client.get(FEED, params=ANN) for _ in range(3)]:
        assert response.status_code == 503
        assert response.headers["x-reelgraph-development"] == "true"
    assert client.get("/metrics").status_code == 200
    with caplog.at_level(logging.WARNING):
        state.security.start()
    (line,) = [r.message for r in caplog.records if r.name == "serving.security.gate"]
    assert "EVERYBODY MAY DO EVERYTHING" in line


def test_an_open_endpoint_takes_nothing_from_a_page_of_another_site(app_of, home):
    client, _ = app_of(home.model_copy(update={"cors_origins": APP_PAGE}))
    for origin, status in [("http://testserver", 503), (APP_PAGE, 503), (EVIL, 403), ("null", 403)]:
        headers = {"Origin": origin, "Content-Type": "application/json"}
        assert client.post(FEED, content=b'{"user_id": "ann"}', headers=headers).status_code == status
        assert client.get(FEED, params=ANN, headers=headers).status_code == 503
    assert client.post(FEED, json=ANN).status_code == 503  # a program is no browser


def test_an_open_endpoint_beyond_this_machine_is_named(app_of, home, caplog):
    _, state = app_of(home.model_copy(update={"bind_host": "0.0.0.0"}))
    state.security.start()
    assert "the endpoint listens on 0.0.0.0, beyond this machine" in caplog.text


def test_without_any_key_nobody_comes_in_and_the_start_says_how(app_of, home, caplog):
    closed = home.model_copy(update={"development": False})
    client, state = app_of(closed)
    state.security._say_closed()
    assert "reelgraph keys create" in caplog.text
    assert client.get(FEED, params=ANN).status_code == 401
    assert client.get(FEED, params=ANN, headers=bearer()).status_code == 401
    assert client.get("/health").status_code == 200


def test_an_assembled_endpoint_without_security_refuses_everybody(app_of, closed):
    client, state = app_of(closed)
    state.security = None
    assert client.get(FEED, params=ANN, headers=bearer()).json()["detail"] == (
        "the endpoint cannot tell who asks"
    )
    assert client.get("/health").status_code == 200


def test_what_was_refused_is_counted_by_cause_and_route_and_holds_no_id(app_of, closed):
    client, state = app_of(closed)
    client.get(FEED, params=ANN)
    client.get(FEED, params=ANN, headers={"Authorization": "Bearer x"})
    client.get("/api/v1/recs/models", headers=bearer("ann"))
    text = state.metrics.render().decode()
    for line in [
        'reelgraph_security_refused_total{reason="missing"} 1.0',
        'reelgraph_security_refused_total{reason="token"} 1.0',
        'reelgraph_security_refused_total{reason="role"} 1.0',
        f'reelgraph_requests_total{{method="GET",route="{FEED}",status="401"}} 2.0',
        'reelgraph_requests_total{method="GET",route="/api/v1/recs/models",status="403"} 1.0',
    ]:
        assert line in text
    assert '"ann"' not in text
