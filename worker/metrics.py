"""What Prometheus may know of one server: requests, errors by code, stages, batch sizes, queue depth."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from worker.service import EmbeddingService

CONTENT_TYPE = CONTENT_TYPE_LATEST

# From a text's encode on a GPU to a job's whole deadline.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One server's own registry; also the service's observer. Safe to call from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "clip_http_requests",
            "HTTP requests to embed, by route, status and wire code.",
            ["route", "status", "code"],
            registry=self._registry,
        )
        self._items = Counter("clip_items", "Inputs answered, by wire code.", ["code"], registry=self._registry)
        self._stages = Histogram(
            "clip_stage_seconds", "Time of one item in one stage.", ["stage"], buckets=_SECONDS, registry=self._registry
        )
        self._batches = Histogram(
            "clip_batch_size", "Inputs encoded together.", ["tower"], buckets=_BATCHES, registry=self._registry
        )
        self._queued = Gauge("clip_queued_items", "Items that wait for their turn.", registry=self._registry)
        self._running = Gauge("clip_running_items", "Items that are worked on.", registry=self._registry)
        self._model = Info("clip_model", "What is served.", registry=self._registry)
        ProcessCollector(registry=self._registry)

    def watch(self, service: EmbeddingService) -> None:
        """Tell the service's queue depth and model from now on."""
        self._queued.set_function(lambda: service.admission.queued)
        self._running.set_function(lambda: service.admission.running)
        model = service.encoder.manifest
        self._model.info(
            {
                "model": model.model,
                "pretrained": model.pretrained,
                "model_digest": model.model_digest,
                "lane": service.encoder.lane.name,
            }
        )

    def request(self, route: str, status: int, code: str) -> None:
        """One HTTP request to embed was answered; `route` is the route's own path, never a caller's text."""
        self._requests.labels(route, str(status), code).inc()

    def item(self, code: str, stages_ms: Mapping[str, float]) -> None:
        """See `worker.observer.Observer`."""
        self._items.labels(code).inc()
        for stage, ms in stages_ms.items():
            self._stages.labels(stage.removesuffix("_ms")).observe(ms / 1000)

    def batch(self, tower: str, size: int) -> None:
        """See `worker.observer.Observer`."""
        self._batches.labels(tower).observe(size)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)
