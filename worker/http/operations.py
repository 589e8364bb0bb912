"""One table of routes, from which both the server and its OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Schema = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Operation:
    """A route with what its caller must know.

    `body` is the JSON schema of the request's body, None where there is none. `answers` maps a status to the
    JSON schema of the reply, or to a sentence where the reply is not JSON. `security` names how callers are known.
    """

    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]
    summary: str
    description: str = ""
    body: Schema | None = None
    examples: Mapping[str, object] = field(default_factory=dict)
    answers: Mapping[int, Schema | str] = field(default_factory=dict)
    security: str | None = None

    def route(self) -> Route:
        """For the server."""
        return Route(self.path, self.endpoint, methods=[self.method])

    def document(self) -> dict[str, object]:
        """For the OpenAPI document."""
        found: dict[str, object] = {"summary": self.summary, "description": self.description}
        if self.body is not None:
            examples = {name: {"value": value} for name, value in self.examples.items()}
            found["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": self.body, "examples": examples}},
            }
        if self.security is not None:
            found["security"] = [{self.security: []}]
        found["responses"] = {str(status): _answer(answer) for status, answer in self.answers.items()}
        return found


def _answer(answer: Schema | str) -> dict[str, object]:
    if isinstance(answer, str):
        return {"description": answer}
    return {"description": str(answer["description"]), "content": {"application/json": {"schema": answer}}}
