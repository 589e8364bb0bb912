"""OpenAI's form, spoken by OpenAI's own package."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from heimdex_clip.contract import decode_vector
from heimdex_clip.encoder.encoder import Encoder
from tests.worker import loopback
from tests.worker.http.conftest import KEY, Served, data_uri, png, ready

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODEL = "ViT-B-32"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(encoder: Encoder) -> AsyncIterator[Served]:
    async with ready(encoder) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{served.url}/v1", max_retries=0, timeout=60) as found:
        yield found


async def test_the_package_embeds_one_text_and_several(client: openai.AsyncOpenAI) -> None:
    one = await client.embeddings.create(model=MODEL, input="a cat")
    several = await client.embeddings.create(model=MODEL, input=["a cat", "a dog", "a cat"])
    assert [item.index for item in several.data] == [0, 1, 2]
    assert one.model == several.model == MODEL
    assert one.object == several.object == "list"
    for same in (several.data[0], several.data[2]):
        assert cosine(one.data[0].embedding, same.embedding) > 1 - 1e-6
    assert cosine(one.data[0].embedding, several.data[1].embedding) < 1 - 1e-4
    assert math.isclose(math.hypot(*one.data[0].embedding), 1, abs_tol=1e-5)


async def test_usage_counts_the_tokens_of_texts_as_the_model_reads_them(client: openai.AsyncOpenAI) -> None:
    short = await client.embeddings.create(model=MODEL, input=["a cat", "a dog"])
    long = await client.embeddings.create(model=MODEL, input="cat " * 500)
    image = await client.embeddings.create(model=MODEL, input=[data_uri(png())], extra_body={"modality": "image"})
    assert short.usage.prompt_tokens == short.usage.total_tokens == 2 * (1 + 2 + 1)
    assert long.usage.prompt_tokens == 77
    assert image.usage.prompt_tokens == 0


async def test_both_encodings_hold_the_same_vector(served: Served, client: openai.AsyncOpenAI) -> None:
    as_floats = await client.embeddings.create(model=MODEL, input="a cat", encoding_format="float")
    raw = (await served.embeddings({"model": MODEL, "input": "a cat", "encoding_format": "base64"})).json()
    assert isinstance(raw["data"][0]["embedding"], str)
    assert cosine(decode_vector(raw["data"][0]["embedding"]), as_floats.data[0].embedding) > 1 - 1e-6


async def test_images_by_data_uri_by_url_and_by_modality_are_the_same(served: Served) -> None:
    async def image_server(request: loopback.Request) -> None:
        await request.answer(png(7))

    uri = data_uri(png(7))
    async with loopback.serve(image_server) as images:
        url = images.url("/7.png")
        mixed = await served.embeddings({"model": MODEL, "input": [{"image": uri}, {"image": url}, {"text": "a cat"}]})
        strings = await served.embeddings({"model": MODEL, "input": [uri, url], "modality": "image"})
        single = await served.embeddings({"model": MODEL, "input": {"image": uri}})
    vectors = [item["embedding"] for answer in (mixed, strings, single) for item in answer.json()["data"]]
    assert len(vectors) == 6
    text = vectors.pop(2)
    assert all(cosine(vectors[0], other) > 1 - 1e-6 for other in vectors)
    assert cosine(vectors[0], text) < 0.99
    assert "download_ms" in mixed.json()["timings"]


async def test_dimensions_may_only_be_the_models_own(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=MODEL, input="a cat", dimensions=512)
    assert len(answer.data[0].embedding) == 512
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        await client.embeddings.create(model=MODEL, input="a cat", dimensions=256)


async def test_another_model_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await client.embeddings.create(model="text-embedding-3-small", input="a cat")
    assert caught.value.code == "MODEL_MISMATCH"


async def test_token_ids_are_refused_in_words(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="token ids"):
        await client.embeddings.create(model=MODEL, input=[1, 2, 3])


async def test_one_failing_input_fails_the_request_and_is_named(client: openai.AsyncOpenAI) -> None:
    broken = data_uri(b"no image")
    with pytest.raises(openai.UnprocessableEntityError, match=r"input\[1\]") as caught:
        await client.embeddings.create(model=MODEL, input=[data_uri(png()), broken], extra_body={"modality": "image"})
    assert caught.value.code == "IMAGE_INVALID"
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize("key", ["wrong", KEY + "x", KEY[:-1], "schlüssel"])
async def test_a_wrong_key_is_401(served: Served, key: str) -> None:
    answer = await served.client.post(
        "/v1/embeddings", json={"input": "a"}, headers={b"Authorization": f"Bearer {key}".encode()}
    )
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "AUTH_FAILED"


@pytest.mark.parametrize("header", [KEY, f"Basic {KEY}", "Bearer", ""])
async def test_only_the_bearer_scheme_counts(served: Served, header: str) -> None:
    answer = await served.client.post("/v1/embeddings", json={"input": "a"}, headers={"Authorization": header})
    assert answer.status_code == 401


async def test_the_package_raises_its_own_authentication_error(served: Served) -> None:
    async with openai.AsyncOpenAI(api_key="wrong", base_url=f"{served.url}/v1", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.embeddings.create(model=MODEL, input="a cat")


@pytest.mark.parametrize("environment", [{}, {"EMBEDDING_HMAC_SECRET": "", "ALLOW_INSECURE_AUTH": "1"}])
async def test_without_keys_nobody_gets_in(encoder: Encoder, environment: dict[str, str]) -> None:
    async with ready(encoder, EMBEDDING_API_KEYS="", **environment) as closed:
        answers = [await closed.embeddings({"input": "a"}, key=key) for key in (KEY, "None")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert "EMBEDDING_API_KEYS" in answers[0].json()["error"]["message"]


async def test_the_package_retries_only_what_can_help(served: Served) -> None:
    """A 5xx that says so is not asked again: the image server is asked once."""

    async def not_there(request: loopback.Request) -> None:
        await request.answer(status="404 Not Found")

    async with (
        loopback.serve(not_there) as images,
        openai.AsyncOpenAI(api_key=KEY, base_url=f"{served.url}/v1", max_retries=2) as patient,
    ):
        with pytest.raises(openai.InternalServerError):
            await patient.embeddings.create(model=MODEL, input=[images.url()], extra_body={"modality": "image"})
        assert len(images.requests) == 1


def cosine(a: object, b: object) -> float:
    assert isinstance(a, list | tuple)
    assert isinstance(b, list | tuple)
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b))
