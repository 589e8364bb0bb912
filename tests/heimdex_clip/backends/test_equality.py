"""Three ways to one vector: the RunPod queue (the SDK's own loop), the HTTP door, and the model in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from heimdex_clip import AsyncClipClient, ClipClient, Embedding
from heimdex_clip.encoder.encoder import open_encoder
from heimdex_clip.errors import AuthFailed, ClipError, ImageInvalid, UrlRefused
from tests.e2e.rig import SECRET, Rig, picture, running
from tests.worker.http import conftest as door

pytestmark = pytest.mark.asyncio(loop_scope="module")
MAX_COSINE_DISTANCE = 1e-6  # the promise is 1e-3
BACKENDS = ("runpod", "http", "local")


@dataclass
class Ways:
    """A client's environment for each backend, before one set of images."""

    rig: Rig
    environments: Mapping[str, Mapping[str, str]]

    def client(self, backend: str, **changed: str) -> AsyncClipClient:
        client = AsyncClipClient.from_env({**self.environments[backend], **changed})
        assert isinstance(client, AsyncClipClient)
        return client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ways(model_dir: Path) -> AsyncIterator[Ways]:
    encoder = await asyncio.to_thread(open_encoder, model_dir, runtime="cpu")
    async with running(model_dir) as rig, door.ready(encoder) as served:
        yield Ways(
            rig,
            {
                "runpod": {
                    "CLIP_INFERENCE_BACKEND": "runpod",
                    "RUNPOD_API_KEY": rig.api.api_key,
                    "RUNPOD_CLIP_ENDPOINT_ID": rig.api.endpoint_id,
                    "RUNPOD_ENDPOINT_BASE_URL": rig.api.base_url,
                    "EMBEDDING_HMAC_SECRET": SECRET,
                },
                "http": {
                    "CLIP_INFERENCE_BACKEND": "http",
                    "CLIP_HTTP_URL": served.url,
                    "EMBEDDING_HMAC_SECRET": door.SECRET,
                },
                "local": {
                    "CLIP_INFERENCE_BACKEND": "local",
                    "CLIP_MODEL_DIR": str(model_dir),
                    "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
                    "ALLOWED_IMAGE_PORTS": str(rig.images.port),
                },
            },
        )


def distance(one: Embedding, other: Embedding) -> float:
    a, b = one.as_array().astype(np.float64), other.as_array().astype(np.float64)
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


async def test_all_backends_and_forms_of_an_image_give_one_vector(ways: Ways, tmp_path: Path) -> None:
    photo = picture(1)
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo)
    found: list[Embedding] = []
    for backend in BACKENDS:
        async with ways.client(backend) as client:
            by_url = await client.embed_image(url=ways.rig.images.url("/picture/1.jpg"), request_id="r-1")
            by_path, by_bytes = await client.embed_image(path=file), await client.embed_image(bytes=photo)
            another = await client.embed_image(bytes=picture(2))
        assert (by_url.backend, by_url.request_id, by_url.is_fallback) == (backend, "r-1", False)
        assert by_url.timings.keys() >= {"download_ms", "decode_ms", "inference_ms", "total_ms"}
        assert distance(by_url, another) > 100 * MAX_COSINE_DISTANCE
        assert by_url.as_list() == list(by_url.vector)
        found += [by_url, by_path, by_bytes]
    assert max(distance(found[0], other) for other in found) < MAX_COSINE_DISTANCE
    assert {(one.dim, one.model_digest, one.normalized) for one in found} == {(512, found[0].model_digest, True)}


async def test_texts_and_lengths_are_alike_too(ways: Ways) -> None:
    texts, raw = [], []
    for backend in BACKENDS:
        async with ways.client(backend) as client:
            texts.append(await client.embed_text("a photo of a cat"))
            raw.append(await client.embed_image(bytes=picture(3), normalize=False))
    assert max(distance(texts[0], other) for other in texts) < MAX_COSINE_DISTANCE
    for one in raw[1:]:
        np.testing.assert_allclose(one.as_array(), raw[0].as_array(), rtol=1e-3, atol=1e-4)
        assert np.linalg.norm(one.as_array()) > 1.5


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_batch_keeps_its_order_and_each_failure_to_itself(ways: Ways, backend: str) -> None:
    async with ways.client(backend) as client:
        first, broken, refused, last = await client.embed_images(
            [ways.rig.images.url("/picture/4.jpg"), b"no image", "http://169.254.169.254/x.jpg", picture(5)]
        )
        alone = await client.embed_image(bytes=picture(5))
    assert isinstance(first, Embedding)
    assert isinstance(last, Embedding)
    assert isinstance(broken, ImageInvalid)
    assert isinstance(refused, UrlRefused)
    assert distance(last, alone) < MAX_COSINE_DISTANCE
    assert distance(first, last) > MAX_COSINE_DISTANCE


@pytest.mark.parametrize("backend", BACKENDS)
async def test_each_tells_what_it_serves_and_how_it_fares(ways: Ways, backend: str, model_dir: Path) -> None:
    async with ways.client(backend) as client:
        health, info = await client.health(), await client.info()
    assert (health.backend, health.ready) == (backend, True)
    assert (info.backend, info.model, info.dim, info.lane, info.untrained) == (backend, "ViT-B-32", 512, "cpu", True)
    assert info.limits["max_image_bytes"]
    assert info.model_digest in (model_dir / "manifest.json").read_text()


@pytest.mark.parametrize("backend", ["runpod", "http"])
async def test_a_wrong_secret_is_the_workers_refusal(ways: Ways, backend: str) -> None:
    async with ways.client(backend, EMBEDDING_HMAC_SECRET="another") as client:
        with pytest.raises(AuthFailed):
            await client.embed_image(bytes=picture(1))


@pytest.mark.parametrize("backend", BACKENDS)
async def test_another_models_vectors_are_refused(ways: Ways, backend: str) -> None:
    async with ways.client(backend, EXPECTED_MODEL_DIGEST="0" * 16) as client:
        with pytest.raises(ClipError, match="EXPECTED_MODEL_DIGEST 0000000000000000") as raised:
            await client.embed_image(bytes=picture(1))
        assert (raised.value.code, raised.value.retryable) == ("DIGEST_MISMATCH", False)
        assert [type(one).__name__ for one in await client.embed_images([picture(1)])] == ["DigestMismatch"]


async def test_the_blocking_client_does_the_same(ways: Ways) -> None:
    def embed(backend: str) -> Embedding:
        client = ClipClient.from_env(ways.environments[backend])
        assert isinstance(client, ClipClient)
        with client:
            assert client.health().ready
            return client.embed_image(url=ways.rig.images.url("/picture/6.jpg"))

    found = [await asyncio.to_thread(embed, backend) for backend in BACKENDS]
    assert max(distance(found[0], other) for other in found) < MAX_COSINE_DISTANCE
