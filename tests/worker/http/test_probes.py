"""/ping, /health, /metrics, and routes that are not there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from heimdex_clip.encoder.encoder import Encoder
from tests.worker.http.conftest import ENVIRONMENT, Served, data_uri, new_door, new_service, png, ready, serving
from worker.http.door import Door
from worker.service import Reply
from worker.settings import read


async def ping(served: Served) -> tuple[int, str]:
    status = (await served.client.get("/ping")).status_code
    return status, (await served.client.get("/health")).json()["state"]


async def test_ping_and_health_tell_the_servers_life(encoder: Encoder) -> None:
    door = new_door()
    async with serving(door) as served:
        assert await ping(served) == (204, "loading")
        service = new_service(door, encoder)
        door.open(service)
        assert await ping(served) == (200, "ready")
        door.lose("tested")
        assert await ping(served) == (503, "lost")
        door.drain()
        assert await ping(served) == (503, "draining")


async def test_health_says_what_is_served_and_how_much_waits(encoder: Encoder) -> None:
    async with serving(new_door()) as loading:
        early = (await loading.client.get("/health")).json()
    async with ready(encoder) as served:
        health = (await served.client.get("/health")).json()
    assert set(early) == {"state", "uptime_s"}
    assert (health["model"], health["lane"], health["dim"]) == ("ViT-B-32", "cpu", 512)
    assert health["model_digest"] == encoder.manifest.model_digest
    assert (health["queued_items"], health["running_items"], health["text_ready"]) == (0, 0, True)
    assert health["uptime_s"] >= 0


async def test_metrics_count_what_happened(encoder: Encoder) -> None:
    async with ready(encoder) as served:
        await served.embeddings({"input": ["a", "b", {"image": data_uri(png())}], "model": "ViT-B-32"})
        await served.embeddings({"input": [{"image": data_uri(b"none")}]})
        await served.embeddings({"input": []}, key="wrong")
        response = await served.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = samples(response.text)
    requests = "clip_http_requests_total"
    route = {"route": "/v1/embeddings"}
    assert found[key(requests, **route, status="200", code="OK")] == 1
    assert found[key(requests, **route, status="422", code="IMAGE_INVALID")] == 1
    assert found[key(requests, **route, status="401", code="AUTH_FAILED")] == 1
    assert found[key("clip_items_total", code="OK")] == 3
    assert found[key("clip_items_total", code="IMAGE_INVALID")] == 1
    assert found[key("clip_stage_seconds_count", stage="decode")] == 1
    assert found[key("clip_stage_seconds_count", stage="inference")] == 3
    assert found[key("clip_batch_size_sum", tower="text")] == 2
    assert found[key("clip_batch_size_count", tower="image")] == 1
    assert found[key("clip_queued_items")] == found[key("clip_running_items")] == 0


async def test_two_servers_count_apart(encoder: Encoder) -> None:
    async with ready(encoder) as one, ready(encoder) as other:
        await one.embeddings({"input": "a"})
        assert key("clip_items_total", code="OK") in samples((await one.client.get("/metrics")).text)
        assert key("clip_items_total", code="OK") not in samples((await other.client.get("/metrics")).text)


async def test_an_unknown_route_is_404_in_the_contracts_form() -> None:
    async with serving(new_door()) as served:
        for path in ("/nope", "/ping/", "/v1", "/v1/embed/video", "/%00", "/"):
            response = await served.client.get(path)
            assert (response.status_code, response.json()["code"]) == (404, "INVALID_REQUEST"), path


async def test_another_method_is_405_and_names_the_right_one() -> None:
    async with serving(new_door()) as served:
        got = await served.client.get("/v1/embed/image")
        posted = await served.client.post("/ping")
    assert (got.status_code, got.headers["allow"], got.json()["code"]) == (405, "POST", "INVALID_REQUEST")
    assert posted.status_code == 405


class Faulty(Door):
    def health(self) -> Reply:
        raise RuntimeError("hunter2")


async def test_a_fault_of_our_own_is_500_without_a_word_of_it(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Faulty(read(ENVIRONMENT))) as served:
        response = await served.client.get("/health")
    fields = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "http_fault"]
    assert (response.status_code, response.json()["code"]) == (500, "INTERNAL")
    assert fields[0]["cause"].startswith("RuntimeError at test_probes.py")
    assert "hunter2" not in response.text + capsys.readouterr().err + str(fields)


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


def samples(text: str) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {key(sample.name, **sample.labels): sample.value for family in families for sample in family.samples}
