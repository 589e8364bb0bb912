"""The whole way, through the real SDK loop: signed input in, reference-equal vector or one typed failure out."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from heimdex_clip import sign_v1
from heimdex_clip.contract import decode_vector
from heimdex_clip.encoder.encoder import Encoder, normalised, open_encoder
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.errors import ClipError
from tests.e2e.rig import SECRET, Rig, picture, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(model_dir: Path) -> AsyncIterator[Rig]:
    async with running(model_dir) as rig:
        yield rig


@pytest.fixture(scope="module")
def encoder(model_dir: Path) -> Encoder:
    return open_encoder(model_dir, runtime="cpu")


def expected(encoder: Encoder, seed: int) -> NDArray[np.float32]:
    pixels = preprocess(picture(seed), size=encoder.image_size, max_pixels=10**7)
    return normalised(encoder.encode_pixels(pixels[None])[0])


async def test_a_v1_job_is_answered_with_exactly_the_contracts_fields(rig: Rig, encoder: Encoder) -> None:
    done = await rig.job(rig.v1(rig.images.url("/picture/1.jpg"), request_id="r-1", normalize=True, model="ViT-B-32"))
    assert done["status"] == "COMPLETED"
    reply = done["output"]
    timings = reply.pop("timings")
    vector = np.array(reply.pop("embedding"), np.float32)
    assert reply == {
        "request_id": "r-1",
        "dim": 512,
        "model": "ViT-B-32",
        "pretrained": "untrained-0",
        "normalized": True,
        "model_digest": encoder.manifest.model_digest,
        "lane": "cpu",
    }
    assert {"download_ms", "decode_ms", "queue_ms", "inference_ms", "total_ms"} <= timings.keys()
    assert timings["total_ms"] >= timings["inference_ms"] > 0
    assert math.isclose(float(np.linalg.norm(vector)), 1.0, abs_tol=1e-6)
    np.testing.assert_allclose(vector, expected(encoder, 1), atol=1e-6)


async def test_without_normalize_the_models_own_vector_comes_back(rig: Rig, encoder: Encoder) -> None:
    done = await rig.job(rig.v1(rig.images.url("/picture/2.jpg"), normalize=False))
    vector = np.array(done["output"]["embedding"], np.float32)
    assert done["output"]["normalized"] is False
    np.testing.assert_allclose(vector / np.linalg.norm(vector), expected(encoder, 2), atol=1e-6)
    assert np.linalg.norm(vector) > 1.5


async def test_the_client_sends_v2_and_gets_the_same_vector(rig: Rig, encoder: Encoder) -> None:
    embedding = await rig.client.embed_image(rig.images.url("/picture/3.jpg"), request_id="r-3")
    assert embedding.request_id == "r-3"
    np.testing.assert_allclose(np.array(embedding.vector), expected(encoder, 3), atol=1e-6)


async def test_many_jobs_at_once_each_get_their_own_vector(rig: Rig, encoder: Encoder) -> None:
    seeds = [seed % 12 for seed in range(60)]
    answers = await asyncio.gather(*(rig.client.embed_image(rig.images.url(f"/picture/{seed}.jpg")) for seed in seeds))
    wanted = {seed: expected(encoder, seed) for seed in set(seeds)}
    for seed, answer in zip(seeds, answers, strict=True):
        np.testing.assert_allclose(np.array(answer.vector), wanted[seed], atol=1e-5)
    assert any(json.loads(line)["batch_size"] > 1 for line in job_lines(rig))


async def test_a_batch_keeps_its_order_and_each_failure_to_itself(rig: Rig, encoder: Encoder) -> None:
    items = [
        {"image_url": rig.images.url("/picture/4.jpg"), "request_id": "a"},
        {"image_url": rig.images.url("/text.txt"), "request_id": "b"},
        {"text": "a photo of a man", "request_id": "c"},
        {"image_url": rig.images.url("/picture/5.jpg"), "request_id": "d", "normalise": True},
        {"image_url": rig.images.url("/picture/5.jpg"), "request_id": "e"},
    ]
    done = await rig.job(rig.v2(items=items, encoding="base64"))
    results = done["output"]["results"]
    assert [row.get("code") for row in results] == [None, "IMAGE_INVALID", None, "INVALID_REQUEST", None]
    assert [row["request_id"] for row in results] == ["a", "b", "c", "d", "e"]
    for row, seed in ((results[0], 4), (results[4], 5)):
        np.testing.assert_allclose(np.array(decode_vector(row["embedding"])), expected(encoder, seed), atol=1e-5)
    assert {"model", "pretrained", "model_digest", "timings"} <= done["output"].keys()


async def test_v1_items_carry_their_own_signatures(rig: Rig) -> None:
    good, bad = rig.images.url("/picture/6.jpg"), rig.images.url("/picture/7.jpg")
    items = [
        {"image_url": good, "request_id": "good", "auth": sign_v1(good, secret=SECRET)},
        {"image_url": bad, "request_id": "bad", "auth": sign_v1(good, secret=SECRET)},
    ]
    done = await rig.job({"items": items})
    assert [row.get("code") for row in done["output"]["results"]] == [None, "AUTH_FAILED"]


async def test_texts_share_the_space_and_say_when_they_were_cut(rig: Rig, encoder: Encoder) -> None:
    embedding = await rig.client.embed_text("a photo of a cat")
    vectors, _ = encoder.encode_texts(["a photo of a cat"])
    np.testing.assert_allclose(np.array(embedding.vector), vectors[0] / np.linalg.norm(vectors[0]), atol=1e-6)
    assert not embedding.truncated
    long = await rig.job(rig.v2(text="word " * 200))
    assert long["output"]["truncated"] is True


async def test_info_tells_what_is_served(rig: Rig, encoder: Encoder) -> None:
    done = await rig.job(rig.v2(op="info"))
    assert done["output"]["model_digest"] == encoder.manifest.model_digest
    assert done["output"]["lane"] == "cpu"
    assert done["output"]["limits"]["max_image_bytes"] == 262144
    assert (await rig.job({"op": "info"}))["output"]["code"] == "AUTH_FAILED"


def bad_inputs(rig: Rig) -> dict[str, tuple[object, bool]]:
    """Code -> an input that ends so, and whether a retry can help."""
    url = rig.images.url("/picture/1.jpg")
    return {
        "AUTH_FAILED": ({"image_url": url, "auth": sign_v1(url, secret="another")}, False),
        "AUTH_EXPIRED": ({"image_url": url, "auth": sign_v1(url, secret=SECRET, ts=1_700_000_000)}, True),
        "INVALID_REQUEST": (rig.v1(url, normalize="yes"), False),
        "MODEL_MISMATCH": (rig.v1(url, model="ViT-L-14"), False),
        "URL_REFUSED": (rig.v1("http://169.254.169.254/latest/meta-data/"), False),
        "DOWNLOAD_FAILED": (rig.v1(rig.images.url("/missing.jpg")), False),
        "DOWNLOAD_TIMEOUT": (rig.v1(rig.images.url("/never.jpg")), True),
        "IMAGE_TOO_LARGE": (rig.v1(rig.images.url("/large.jpg")), False),
        "IMAGE_INVALID": (rig.v1(rig.images.url("/text.txt")), False),
    }


@pytest.mark.parametrize(
    "code",
    [
        "AUTH_FAILED",
        "AUTH_EXPIRED",
        "INVALID_REQUEST",
        "MODEL_MISMATCH",
        "URL_REFUSED",
        "DOWNLOAD_FAILED",
        "DOWNLOAD_TIMEOUT",
        "IMAGE_TOO_LARGE",
        "IMAGE_INVALID",
    ],
)
async def test_each_cause_has_its_code(rig: Rig, code: str) -> None:
    job_input, retryable = bad_inputs(rig)[code]
    assert isinstance(job_input, dict)
    done = await rig.job({**job_input, "request_id": f"bad-{code}"})
    assert done["status"] == "FAILED"
    assert done["output"] == {"code": code, "retryable": retryable, "request_id": f"bad-{code}"}
    assert isinstance(done["error"], str)
    assert "Traceback" not in done["error"]
    assert "\n" not in done["error"]


async def test_a_redirect_to_a_private_address_is_refused_without_quoting_it(rig: Rig) -> None:
    done = await rig.job(rig.v1(rig.images.url("/redirect.jpg")))
    assert done["output"]["code"] == "URL_REFUSED"
    assert "hidden" not in json.dumps(done)


@pytest.mark.parametrize(
    "job_input", [None, [], "text", 7, {}, {"auth": 1}, {"payload": 5, "auth": {"v": 2}}, {"image_url": "\ud800"}]
)
async def test_odd_inputs_get_a_typed_answer(rig: Rig, job_input: object) -> None:
    done = await rig.job(job_input)
    assert done["status"] == "FAILED"
    assert done["output"]["code"] in ("INVALID_REQUEST", "AUTH_FAILED")


async def test_the_clients_errors_are_the_workers(rig: Rig) -> None:
    with pytest.raises(ClipError) as caught:
        await rig.client.embed_image(rig.images.url("/missing.jpg"))
    assert (caught.value.code, caught.value.retryable) == ("DOWNLOAD_FAILED", False)


async def test_the_log_has_a_line_a_job_and_no_secret(rig: Rig) -> None:
    url = rig.images.url("/picture/8.jpg?token=s3cr3t-query")
    auth = sign_v1(url, secret=SECRET)
    await rig.job({"image_url": url, "auth": auth, "request_id": "logged"})
    output = rig.worker.output()
    (line,) = [line for line in job_lines(rig) if '"logged"' in line]
    fields = json.loads(line)
    assert fields["code"] == "OK"
    assert {"download_ms", "decode_ms", "inference_ms", "total_ms", "bytes", "batch_size", "job_id"} <= fields.keys()
    for secret in (SECRET, auth["sig"], "s3cr3t-query", rig.api.api_key):
        assert secret not in output
    assert "Traceback" not in output


def job_lines(rig: Rig) -> list[str]:
    return [line for line in rig.worker.output().splitlines() if '"event": "job"' in line]
