"""The service on a real encoder in miniature: what each fault costs, and whom."""

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from heimdex_clip import sign_v2
from heimdex_clip.encoder.encoder import Encoder, open_encoder
from heimdex_clip.errors import InferenceFailed
from tests import tiny_model
from worker import log, policies
from worker.authentication import Authenticator
from worker.download import Downloader
from worker.service import EmbeddingService
from worker.settings import Settings, read

SECRET = "service-secret"
Tower = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("model") / "tiny")


def encoder_with(folder: Path, tower: Tower | None = None) -> Encoder:
    real = open_encoder(folder, runtime="cpu")
    return real if tower is None else Encoder(folder, real.manifest, real.lane, tower, real.report)


class Gated:
    """A tower that waits for `gate` before each batch, and keeps the batches' sizes."""

    def __init__(self, folder: Path) -> None:
        self.gate = threading.Event()
        self.batches: list[int] = []
        self._dim = encoder_with(folder).manifest.identity.embedding_dim

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        assert self.gate.wait(20)
        self.batches.append(len(inputs[0]))
        return np.ones((len(inputs[0]), self._dim), np.float32)


@asynccontextmanager
async def serving(encoder: Encoder, **environment: str) -> AsyncIterator[EmbeddingService]:
    settings = read({"EMBEDDING_HMAC_SECRET": SECRET, **environment})
    service = EmbeddingService(
        encoder,
        settings,
        Authenticator(policies.auth_policy(settings)),
        Downloader(policies.download_policy(settings)),
    )
    try:
        yield service
    finally:
        await service.close()


def signed(**payload: object) -> dict[str, object]:
    text = json.dumps({"aud": "local", "exp": int(time.time()) + 60, **payload})
    return {"payload": text, "auth": sign_v2(text, secret=SECRET)}


def picture(seed: int = 0, side: int = 12) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def rows(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = reply["results"]
    return results


def vector(reply: Mapping[str, Any]) -> NDArray[np.float32]:
    return np.array(reply["embedding"], np.float32)


async def test_images_and_texts_of_one_batch_are_answered_in_order(folder: Path) -> None:
    async with serving(encoder_with(folder)) as service:
        items = [{"image_base64": picture(seed)} if seed % 2 else {"text": f"a cat {seed}"} for seed in range(20)]
        reply = await service.handle(signed(items=items))
        alone = [await service.handle(signed(**item)) for item in items]
        for row, single in zip(rows(reply), alone, strict=True):
            np.testing.assert_allclose(vector(row), vector(single), atol=1e-6)


async def test_too_many_items_and_too_large_an_image_are_refused(folder: Path) -> None:
    async with serving(encoder_with(folder), MAX_BATCH_ITEMS="2", MAX_IMAGE_SIZE_BYTES="100") as service:
        reply = await service.handle(signed(items=[{"text": "x"}] * 3))
        assert (reply["code"], reply["error"]) == (
            "INVALID_REQUEST",
            "The request has 3 items; at most 2 are accepted",
        )
        assert (await service.handle(signed(image_base64=picture(side=30))))["code"] == "IMAGE_TOO_LARGE"


async def test_more_than_may_wait_is_overloaded_at_once(folder: Path) -> None:
    slow = Gated(folder)
    async with serving(encoder_with(folder, slow), MAX_INFLIGHT_ITEMS="2", MAX_QUEUED_ITEMS="3") as service:
        jobs = [asyncio.create_task(service.handle(signed(image_base64=picture(n)))) for n in range(5)]
        await asyncio.sleep(0.1)
        refused = await service.handle(signed(image_base64=picture()))
        assert (refused["code"], refused["retryable"]) == ("OVERLOADED", True)
        assert (service.admission.running, service.admission.queued) == (2, 3)
        slow.gate.set()
        assert all("embedding" in reply for reply in await asyncio.gather(*jobs))
        assert service.admission.queued == 0


async def test_a_job_past_its_deadline_is_dropped_and_the_next_one_served(folder: Path) -> None:
    slow = Gated(folder)
    async with serving(encoder_with(folder, slow), JOB_TIMEOUT_S="0.2") as service:
        first = asyncio.create_task(service.handle(signed(image_base64=picture())))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(service.handle(signed(image_base64=picture())))
        assert [(await job)["code"] for job in (first, second)] == ["DEADLINE_EXCEEDED"] * 2
        slow.gate.set()
        assert "embedding" in await service.handle(signed(image_base64=picture()))
        assert sum(slow.batches) <= 2  # the second was never encoded


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
async def test_a_vector_that_is_no_use_is_never_sent(folder: Path, value: float) -> None:
    dim = encoder_with(folder).manifest.identity.embedding_dim

    def bad(*inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        vectors = np.ones((len(inputs[0]), dim), np.float32)
        vectors[0] = value
        return vectors

    async with serving(encoder_with(folder, bad)) as service:
        reply = await service.handle(signed(image_base64=picture()))
        assert (reply["code"], reply["retryable"]) == ("INFERENCE_FAILED", True)


async def test_an_encoder_that_raises_fails_jobs_but_not_the_service(folder: Path) -> None:
    failures = iter([InferenceFailed("device fault"), RuntimeError("https://example.com/?secret=1")])
    real = encoder_with(folder)

    def flaky(*inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        if (failure := next(failures, None)) is not None:
            raise failure
        return np.ones((len(inputs[0]), real.manifest.identity.embedding_dim), np.float32)

    async with serving(encoder_with(folder, flaky)) as service:
        for _ in range(2):
            reply = await service.handle(signed(image_base64=picture()))
            assert reply["code"] == "INFERENCE_FAILED"
            assert "secret" not in str(reply)
        assert "embedding" in await service.handle(signed(image_base64=picture()))


async def test_a_text_tower_that_cannot_load_leaves_the_images_alone(folder: Path, tmp_path: Path) -> None:
    altered = tiny_model.build(tmp_path / "altered")
    with (altered / tiny_model.TEXT).open("ab") as file:
        file.write(b"!")
    async with serving(encoder_with(altered)) as service:
        reply = await service.handle(signed(items=[{"text": "a cat"}, {"image_base64": picture()}]))
        assert [row.get("code") for row in rows(reply)] == ["INFERENCE_FAILED", None]


async def test_a_fault_of_our_own_is_internal_and_its_cause_only_in_the_log(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("INFO")

    class Broken(Authenticator):
        def authenticate(self, job_input: object, *, max_payload_chars: int = 0) -> Any:
            raise KeyError("https://example.com/?token=hidden")

    async with serving(encoder_with(folder)) as service:
        service._authenticator = Broken(policies.auth_policy(Settings(hmac_secret=SECRET)))
        reply = await service.handle(signed(text="x", request_id="r"), job_id="j")
    assert reply == {"error": "Internal error", "code": "INTERNAL", "retryable": True, "request_id": None}
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"job"' in line]
    assert line["cause"].startswith("KeyError at test_service.py:")
    assert "hidden" not in str(line)


async def test_cancelling_a_job_frees_its_place(folder: Path) -> None:
    slow = Gated(folder)
    async with serving(encoder_with(folder, slow)) as service:
        job = asyncio.create_task(service.handle(signed(items=[{"image_base64": picture(n)} for n in range(5)])))
        await asyncio.sleep(0.1)
        assert service.admission.running == 5
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert service.admission.running == service.admission.queued == 0
        slow.gate.set()


async def test_draining_refuses_new_jobs_and_finishes_the_old(folder: Path) -> None:
    slow = Gated(folder)
    async with serving(encoder_with(folder, slow)) as service:
        old = asyncio.create_task(service.handle(signed(image_base64=picture())))
        await asyncio.sleep(0.1)
        service.drain()
        assert (await service.handle(signed(image_base64=picture())))["code"] == "OVERLOADED"
        slow.gate.set()
        assert "embedding" in await old


async def test_downloads_larger_than_the_budget_pass_one_by_one(folder: Path) -> None:
    async with serving(encoder_with(folder), MAX_INFLIGHT_BYTES=str(1 << 20)) as service:
        images = [{"image_base64": picture(n, 700)} for n in range(4)]  # 2 MB each when decoded
        reply = await service.handle(signed(items=images))
        assert all("embedding" in row for row in rows(reply))
