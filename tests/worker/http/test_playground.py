"""Who gets to see the page."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.requests import Request

from tests.worker.http.conftest import ENVIRONMENT, Served, new_door, serving
from worker.http import playground
from worker.settings import read

pytestmark = pytest.mark.asyncio(loop_scope="module")
ON = {"PLAYGROUND": "1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Served]:
    async with serving(new_door(**ON)) as found:
        yield found


async def status(served: Served, **headers: str) -> int:
    return (await served.client.get("/", headers=headers)).status_code


async def test_it_is_off_unless_asked_for() -> None:
    async with serving(new_door()) as served:
        assert await status(served) == 404


async def test_this_machine_sees_it_under_a_policy_that_allows_its_own_parts_only(page: Served) -> None:
    response = await page.client.get("/")
    policy = response.headers["content-security-policy"]
    assert response.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", response.text, re.DOTALL)
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\son[a-z]+=|https?://", response.text)


@pytest.mark.parametrize(
    "host", ["example.com", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "", "a b"]
)
async def test_a_host_that_is_not_loopback_is_404(page: Served, host: str) -> None:
    assert await status(page, Host=host) == 404


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.8.8", "[::1]", "[::1]:8000"])
async def test_a_loopback_host_is_served(page: Served, host: str) -> None:
    assert await status(page, Host=host) == 200


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via", "X-Forwarded-Host"])
async def test_what_came_through_a_proxy_is_404(page: Served, header: str) -> None:
    assert await status(page, **{header: "127.0.0.1"}) == 404


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("127.0.0.1", 5), 200),
        (("::1", 5), 200),
        (("::ffff:127.0.0.1", 5), 200),
        (("10.0.0.5", 5), 404),
        (("::ffff:10.0.0.5", 5), 404),
        (None, 404),
    ],
)
async def test_only_a_loopback_client_is_served(client: tuple[str, int] | None, expected: int) -> None:
    (operation,) = playground.operations(read({**ENVIRONMENT, **ON}))
    request = Request({"type": "http", "headers": [(b"host", b"localhost")], "client": client})
    assert (await operation.endpoint(request)).status_code == expected


async def test_it_needs_a_key_or_insecure_auth() -> None:
    async with serving(new_door(**ON, EMBEDDING_API_KEYS="")) as served:
        refused = await served.client.get("/")
    async with serving(new_door(**ON, EMBEDDING_API_KEYS="", ALLOW_INSECURE_AUTH="1")) as served:
        assert await status(served) == 200
    assert refused.status_code == 403
    assert "EMBEDDING_API_KEYS" in refused.json()["error"]
