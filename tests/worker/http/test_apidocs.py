"""The OpenAPI document says what the server does."""

from __future__ import annotations

import re
from typing import Any

from starlette.routing import Route

from heimdex_clip.encoder.encoder import Encoder
from heimdex_clip.errors import WIRE_ERRORS
from tests.worker.http.conftest import data_uri, new_door, png, ready, serving
from worker.http.app import build_app
from worker.http.replies import STATUS


async def document() -> dict[str, Any]:
    async with serving(new_door()) as served:
        found: dict[str, Any] = (await served.client.get("/openapi.json")).json()
    return found


async def test_every_route_is_described_and_nothing_else() -> None:
    described = {(path, method.upper()) for path, methods in (await document())["paths"].items() for method in methods}
    app = build_app(new_door(), version="0")
    served = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert described == served


async def test_every_error_code_stands_under_its_status() -> None:
    assert set(STATUS) == set(WIRE_ERRORS)
    for path, methods in (await document())["paths"].items():
        if path.startswith("/v1/"):
            answers = methods["post"]["responses"]
            assert all(code in answers[str(int(status))]["description"] for code, status in STATUS.items())


async def test_replies_have_the_fields_that_are_described(encoder: Encoder) -> None:
    async with ready(encoder) as served:
        paths = (await served.client.get("/openapi.json")).json()["paths"]
        health = await served.client.get("/health")
        embedded = await served.embeddings({"input": [{"image": data_uri(png())}]})
        refused = await served.embeddings({"input": "a"}, key="wrong")
        failed = await served.client.post("/v1/embed/image", json={})
    for method, path, response in (
        ("get", "/health", health),
        ("post", "/v1/embeddings", embedded),
        ("post", "/v1/embeddings", refused),
        ("post", "/v1/embed/image", failed),
    ):
        answer = paths[path][method]["responses"][str(response.status_code)]
        assert_of(response.json(), answer["content"]["application/json"]["schema"])


async def test_a_single_and_a_batch_reply_are_described(encoder: Encoder) -> None:
    environment = {"EMBEDDING_HMAC_SECRET": "", "ALLOW_INSECURE_AUTH": "1"}
    async with ready(encoder, **environment) as served:
        paths = (await served.client.get("/openapi.json")).json()["paths"]
        single = await served.client.post("/v1/embed/text", json={"text": "a"})
        batch = await served.client.post("/v1/embed/text", json={"items": [{"text": "a"}]})
    schema = paths["/v1/embed/text"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert_of(single.json(), schema["anyOf"][0])
    assert_of(batch.json(), schema["anyOf"][1])
    assert_of(batch.json()["results"][0], schema["anyOf"][0])


def assert_of(value: object, schema: dict[str, Any]) -> None:
    """Every required field is there, and none that is not described; recursively through objects and lists."""
    if schema.get("type") == "array":
        assert isinstance(value, list)
        for item in value:
            assert_of(item, schema["items"])
    if "properties" not in schema:
        return
    assert isinstance(value, dict)
    assert set(schema["required"]) <= set(value) <= set(schema["properties"])
    for name, inner in value.items():
        assert_of(inner, schema["properties"][name])


async def test_the_page_shows_every_route_and_loads_nothing() -> None:
    paths = (await document())["paths"]
    async with serving(new_door()) as served:
        response = await served.client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert all(f"</b> {path}</code>" in response.text for path in paths)
    assert not re.search(r"(?:src|href)=\"(?!data:,|/openapi\.json)", response.text)
    assert "{{" not in response.text
