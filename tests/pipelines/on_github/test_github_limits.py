"""Rate limits of every kind, tokens that come and go, servers that stumble: how each ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from github_mining import mined
from github_server import Account, Answer, FakeGitHub
from github_upstream import Upstream

from pipelines.swe.change import SourceError
from pipelines.swe.github.client import GitHub, NotFound, Unanswered
from pipelines.swe.github.limits import limit_of
from warehouse.settings import Settings

REPO = "/repos/ann/calc"
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


class Clock:
    """Sleeps that only count."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def two(settings: Settings, server: FakeGitHub) -> Settings:
    """Settings with two tokens."""
    server.accounts["secret-two"] = Account()
    return Settings(**settings.model_dump() | {"github_tokens": "secret-one,secret-two"})


def client(settings: Settings, sleep: Any = None) -> GitHub:
    return GitHub(settings, pause=0, backoff=0.01, sleep=sleep or Clock())


def test_the_token_with_the_most_left_asks(two: Settings, server: FakeGitHub, upstream: Upstream) -> None:
    server.accounts["secret-one"].left["core"] = 10
    server.accounts["secret-two"].left["core"] = 13
    github = client(two)
    for i in range(20):
        github.get(REPO, {"page": i})
    used = {name: account.left["core"] for name, account in server.accounts.items()}
    assert used == {"secret-one": 1, "secret-two": 2} or used == {"secret-one": 2, "secret-two": 1}


def test_a_token_without_quota_gives_way_to_another(
    two: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    server.accounts["secret-one"].left["core"] = 0
    sleep = Clock()
    github = client(two, sleep)
    for i in range(3):
        assert github.get(REPO, {"page": i})["full_name"] == "ann/calc"
    assert sleep.slept == []
    assert [asked.token for asked in server.asked].count("secret-one") <= 1


def test_an_hour_without_quota_ends_the_source_with_the_time_it_ends(
    two: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    for account in server.accounts.values():
        account.left["core"] = 0
    with pytest.raises(SourceError) as caught:
        client(two).get(REPO)
    assert caught.value.reason == "rate_limited"
    assert "60 min from now" in str(caught.value)
    assert "goes on where it stopped" in str(caught.value)


def test_an_hour_is_waited_for_where_the_settings_allow_it(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    account = server.accounts["secret-one"]
    account.left["core"] = 0
    patient = Settings(**settings.model_dump() | {"github_tokens": "secret-one", "github_wait_seconds": 4000})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        account.left["core"], account.reset = 5000, time.time()
        for token in github._pool._tokens:
            token.blocked_until = 0

    github = client(patient, sleep)
    assert github.get(REPO)["full_name"] == "ann/calc"
    assert len(slept) == 1
    assert 3500 < slept[0] < 3700


def test_graphql_tells_of_its_limit_with_status_200(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    upstream.fix(2)
    server.accounts["secret-one"].left["graphql"] = 0
    with pytest.raises(SourceError) as caught:
        mined(settings)
    assert caught.value.reason == "rate_limited"


LIMITS = {
    "primary": (Answer(403, {"message": "API rate limit exceeded for user ID 1."}), 60),
    "secondary": (Answer(403, {"message": SECONDARY}), 60),
    "secondary-with-header": (Answer(403, {"message": SECONDARY}, {"Retry-After": "7"}), 7),
    "429-with-header": (Answer(429, {"message": "Too many requests"}, {"Retry-After": "9"}), 9),
    "429-without-header": (Answer(429, {"message": "Too many requests"}), 60),
    "429-without-anything": (Answer(429, None), 60),
}


@pytest.mark.parametrize(("answer", "seconds"), LIMITS.values(), ids=LIMITS)
def test_a_limit_is_waited_out(
    answer: Answer, seconds: float, settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    server.fail("/repos", 1, answer)
    slept: list[float] = []

    def sleep(wait: float) -> None:
        slept.append(wait)
        for token in github._pool._tokens:
            token.blocked_until = 0

    github = client(settings, sleep)
    assert github.get(REPO)["full_name"] == "ann/calc"
    assert len(slept) == 1
    assert seconds - 2 < slept[0] <= seconds + 2


def test_a_limit_that_says_nothing_is_waited_for_longer_each_time(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    server.fail("/repos", 9, Answer(429, {"message": "Too many requests"}))
    slept: list[float] = []

    def sleep(wait: float) -> None:
        slept.append(round(wait, -1))
        for token in github._pool._tokens:
            token.blocked_until = 0

    github = client(settings, sleep)
    with pytest.raises(SourceError) as caught:
        github.get(REPO)
    assert caught.value.reason == "rate_limited"
    assert slept == [60, 120, 240, 480]  # and 960 is past the setting


def test_a_day_in_a_header_is_not_waited_for(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    server.fail("/repos", 9, Answer(403, {"message": SECONDARY}, {"Retry-After": "86400"}))
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        client(settings).get(REPO)
    assert caught.value.reason == "rate_limited"
    assert time.monotonic() - started < 30


def test_a_token_revoked_in_the_middle_gives_way(
    two: Settings, server: FakeGitHub, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.fix(2)
    found = iter(mined(two))
    assert next(found)
    server.accounts["secret-one"].revoked = True
    upstream.fix(3)
    assert len(mined(two)) == 2
    server.accounts["secret-two"].revoked = True
    upstream.fix(4)
    with pytest.raises(SourceError) as caught:
        mined(two)
    assert caught.value.reason == "token_refused"
    assert "secret" not in str(caught.value) + caplog.text


def test_what_was_told_before_a_token_was_revoked_is_kept(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    for value in range(2, 6):
        upstream.fix(value)
    from pipelines.swe.github.source import mine

    running = mine("ann/calc", settings, github=client(settings))
    first = next(running)
    server.accounts["secret-one"].revoked = True
    assert [first, *running][-1].candidate.title == "Make A 2"  # its page and details were told already
    server.accounts["secret-one"].revoked = False
    server.asked.clear()
    assert len(mined(settings)) == 4
    assert server.times("Details") == 0


def test_no_token_at_all_is_said_before_anything_is_asked(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    bare = Settings(**settings.model_dump() | {"github_tokens": ""})
    with pytest.raises(SourceError, match="GITHUB_TOKEN") as caught:
        mined(bare)
    assert caught.value.reason == "token_missing"


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_tried_again(
    status: int, settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    server.fail("/repos", 2, Answer(status, {"message": "Server Error"}))
    assert client(settings).get(REPO)["full_name"] == "ann/calc"


def test_a_server_that_stays_broken_ends_the_source(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    server.fail("/repos", 99, Answer(502, {"message": "Server Error"}))
    with pytest.raises(Unanswered, match="check the network"):
        client(settings).get(REPO)


def test_nobody_listening_ends_the_source(settings: Settings) -> None:
    nobody = Settings(**settings.model_dump() | {"github_tokens": "x", "github_url": "http://127.0.0.1:9"})
    with pytest.raises(Unanswered):
        client(nobody).get(REPO)


def test_forbidden_is_no_limit(settings: Settings, server: FakeGitHub, upstream: Upstream) -> None:
    server.fail("/repos", 1, Answer(403, {"message": "Resource not accessible by personal access token"}))
    with pytest.raises(NotFound, match="not accessible"):
        client(settings).get(REPO)


def test_an_address_that_is_none() -> None:
    with pytest.raises(SourceError, match="github_url"):
        GitHub(Settings(github_url="enterprise.example.org"))


def test_what_has_not_changed_costs_nothing(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    assert client(settings).get(REPO)["size"] == 7
    left = server.accounts["secret-one"].left["core"]
    assert client(settings).get(REPO)["size"] == 7
    assert server.asked[-1].conditional
    assert server.asked[-1].status == 304
    assert server.accounts["secret-one"].left["core"] == left
    upstream.facts["size"] = 8
    assert client(settings).get(REPO)["size"] == 8


def test_an_etag_file_that_was_torn_is_asked_again(
    settings: Settings, server: FakeGitHub, upstream: Upstream
) -> None:
    client(settings).get(REPO)
    (kept,) = settings.home.glob("github/*/etags/*.json")
    kept.write_text(kept.read_text()[:50])
    assert client(settings).get(REPO)["size"] == 7


def test_no_token_is_written_anywhere(
    settings: Settings, server: FakeGitHub, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    upstream.fix(2)
    (item,) = mined(settings)
    assert item.candidate.verdict == "accepted"
    written = [path for root in (settings.home, settings.cache) for path in root.rglob("*") if path.is_file()]
    assert written
    assert [path for path in written if b"secret-one" in path.read_bytes()] == []
    told = (
        caplog.text + item.model_dump_json() if hasattr(item, "model_dump_json") else caplog.text + str(item)
    )
    assert "secret-one" not in told + repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("status", "headers", "message", "limited"),
    [
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99"}, "Forbidden", True),
        (403, {"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "99"}, "Forbidden", False),
        (403, {"Retry-After": "Wed, 21 Oct 2065 07:28:00 GMT"}, "", True),
        (403, {"Retry-After": "soon"}, "", True),
        (404, {}, "Not Found", False),
    ],
)
def test_what_counts_as_a_limit(status: int, headers: dict[str, str], message: str, limited: bool) -> None:
    assert (limit_of(status, headers, message) is not None) is limited


def test_settings_take_tokens_from_the_usual_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("VERIFACTORY_GITHUB_TOKENS", "GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert Settings().github_tokens == ()
    monkeypatch.setenv("GITHUB_TOKEN", "one")
    assert [token.get_secret_value() for token in Settings().github_tokens] == ["one"]
    monkeypatch.setenv("VERIFACTORY_GITHUB_TOKENS", "one, two")
    assert [token.get_secret_value() for token in Settings().github_tokens] == ["one", "two"]


@pytest.mark.parametrize(
    ("url", "clone", "shown"),
    [
        ("https://git.example.org/api/v3", "https://git.example.org/a/b.git", True),
        ("https://api.sub.example.org", "https://sub.example.org/a/b.git", True),
        ("https://git.example.org/api/v3", "http://git.example.org/a/b.git", False),
        ("https://git.example.org/api/v3", "https://elsewhere.example.org/a/b.git", False),
        (None, "https://git.example.org/a/b.git", False),
    ],
)
def test_git_is_shown_a_token_by_this_enterprise_alone(url: str | None, clone: str, shown: bool) -> None:
    github = GitHub(Settings(github_url=url, github_tokens="secret-one"))
    assert github.git_token(clone) == ("secret-one" if shown else None)
