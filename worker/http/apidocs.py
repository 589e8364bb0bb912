"""The OpenAPI document, made from the routes themselves, and a page that shows it without outside assets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from worker.http.operations import Operation
from worker.http.pages import read_page

_TITLE = "CLIP embedding worker"
_ABOUT = (
    "Images and texts to vectors in one space. Callers of /v1/embed/* sign their bodies (HMAC-SHA256),"
    " callers of /v1/embeddings send a bearer key. Vectors may be compared only if their model_digest is equal."
)


def operations(described: Sequence[Operation], *, version: str) -> list[Operation]:
    """/openapi.json and /docs for the routes given and for themselves."""

    async def document(_: Request) -> Response:
        return JSONResponse(_document(found, version))

    async def page(_: Request) -> Response:
        return HTMLResponse(shown.html, headers=shown.headers)

    own = [
        Operation("GET", "/openapi.json", document, "This interface as OpenAPI", answers={200: "OpenAPI 3.1."}),
        Operation("GET", "/docs", page, "This interface for people", answers={200: "An HTML page."}),
    ]
    found = [*described, *own]
    shown = read_page("docs.html", {"ABOUT": escape(_ABOUT), "ROUTES": "\n".join(map(_section, found))})
    return own


def _document(found: Sequence[Operation], version: str) -> dict[str, object]:
    paths: dict[str, dict[str, object]] = {}
    for one in found:
        paths.setdefault(one.path, {})[one.method.lower()] = one.document()
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {"securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}},
    }


def _section(one: Operation) -> str:
    parts = [f"<h2><code><b>{one.method}</b> {escape(one.path)}</code></h2>", f"<p>{escape(one.summary)}.</p>"]
    if one.description:
        parts.append(f"<p>{_prose(one.description)}</p>")
    for name, example in one.examples.items():
        text = json.dumps(example, indent=2)
        parts.append(f"<h3>Example body: {escape(name)}</h3><pre><code>{escape(text)}</code></pre>")
    rows = "".join(f"<tr><td>{status}</td><td>{_prose(_says(says))}</td></tr>" for status, says in one.answers.items())
    parts.append(f"<table><thead><tr><th>Status</th><th>Answer</th></tr></thead><tbody>{rows}</tbody></table>")
    for status, says in one.answers.items():
        if status == 200 and not isinstance(says, str):
            parts.append(f"<details><summary>Schema of the answer</summary>{_schema(says)}</details>")
    if one.body is not None:
        parts.append(f"<details><summary>Schema of the body</summary>{_schema(one.body)}</details>")
    return f"<section>{''.join(parts)}</section>"


def _schema(schema: Mapping[str, object]) -> str:
    return f"<pre><code>{escape(json.dumps(schema, indent=2))}</code></pre>"


def _says(answer: Mapping[str, object] | str) -> str:
    return answer if isinstance(answer, str) else str(answer["description"])


def _prose(text: str) -> str:
    """Escaped, with `code` marked up."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
