"""A job's input, through the whole service: signed, unsigned, and under a signature that holds."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from heimdex_clip.signing import sign_v2
from tests.fuzz import serving
from tests.fuzz.target import Check, Target, check_reply
from worker.service import EmbeddingService


@contextmanager
def _open(model: Path, _work: Path) -> Iterator[Check]:
    with asyncio.Runner() as runner:
        logged = serving.Logged()
        encoder = serving.open_tiny(model)

        async def start() -> tuple[EmbeddingService, EmbeddingService]:
            return (
                serving.new_service(encoder, serving.new_settings(serving.SIGNED)),
                serving.new_service(encoder, serving.new_settings(serving.UNSIGNED)),
            )

        strict, open_to_all = runner.run(start())

        def check(data: bytes) -> None:
            text = data.decode(errors="surrogateescape")
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = text
            payload = serving.addressed(text) if isinstance(value, dict) else text
            inputs: list[tuple[EmbeddingService, object]] = [
                (strict, value),
                (strict, serving.signed_in_place(value)),
                (open_to_all, value),
            ]
            if payload.encode(errors="replace").decode() == payload:
                inputs.append((strict, {"payload": payload, "auth": sign_v2(payload, secret=serving.SECRET)}))
            for service, job_input in inputs:
                check_reply(runner.run(service.handle(job_input)))
            logged.check()

        yield check
        runner.run(strict.close())
        runner.run(open_to_all.close())


def picture(form: str = "PNG", mode: str = "RGB", side: int = 9) -> bytes:
    """A small picture of one format and mode."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((side, side + 2)).convert(mode).save(file, form)
    return file.getvalue()


def seeds() -> Sequence[bytes]:
    """A request of every kind that the contract knows, and some that it does not."""
    image = base64.b64encode(picture()).decode()
    url = "https://example.com/a.jpg?x=1"
    requests: list[object] = [
        {"text": "a photo of a cat", "request_id": "r", "normalize": False, "encoding": "base64", "model": "tiny"},
        {"image_base64": image},
        {"image_url": url, "auth": "v1", "request_id": "r"},
        {"image_url": url, "auth": {"ts": str(serving.NOW), "sig": "0" * 64}},
        {"items": [{"text": "a"}, {"image_base64": image}, {"image_url": url, "auth": "v1"}, {"bad": 1}, 5]},
        {"op": "info"},
        {"payload": '{"text": "a"}', "auth": {"v": 2, "kid": "default", "sig": "0" * 64}},
        {"payload": "", "auth": None},
        {"text": "a", "model": "other"},
        {"text": "&amp;#38; <start_of_text> ＡＢＣ " * 4},
        None,
        [],
        "text",
        7,
    ]
    return [json.dumps(request).encode() for request in requests]


TARGET = Target(_open, seeds, json=True, runs=2000)
