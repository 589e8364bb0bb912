"""Who takes part: every library and server on the same weights, or the reason why one can't."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import contenders, environments, peermodels, servers
from bench.entrants import Entrant
from bench.errors import BenchError
from bench.library import LibraryEntrant
from bench.servers import QueueEntrant
from heimdex_clip.encoder.manifest import Manifest

OWN = "heimdex_clip"
OWN_HTTP = "worker, HTTP"
OWN_QUEUE = "worker, queue"
PYTORCH = "PyTorch worker"
REFERENCE = "open_clip"
FLOOR = "ONNX Runtime, this graph"
PLAIN = "ONNX Runtime, plain graph"
FASTEMBED = "fastembed"
MODERN = "modern-onnx-clip"
INFINITY = "infinity"
INFINITY_HTTP = "infinity, HTTP"
OURS = (OWN, OWN_HTTP, OWN_QUEUE)
NOT_PEERS = (*OURS, FLOOR)
"""What no goal compares with: this project, and its own graph with nothing around it."""
LEFT_OUT = {
    "clip-as-service": "last released in December 2023; a gRPC flow of the jina framework, without a driver here",
    "immich's machine learning": "comes as a container image, not as a package to install beside the others",
}
_MANY = 1_000


@dataclass(slots=True)
class Field:
    """The entrants in order, why others are missing, and the megabytes that each library installs."""

    entrants: list[Entrant] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    installed_mb: dict[str, float] = field(default_factory=dict)
    peer_models: Path | None = None

    def libraries(self) -> list[LibraryEntrant]:
        """Those that embed any encoded image."""
        return [entrant for entrant in self.entrants if isinstance(entrant, LibraryEntrant)]


async def gather(
    manifest: Manifest, model_dir: Path, checkpoint: Path, images: Sequence[Path], urls: Sequence[str], image_port: int
) -> Field:
    """Install, convert, and set up everybody; nobody is started yet."""
    found = Field()

    async def trying(name: str, made: Callable[[], Awaitable[Entrant]]) -> None:
        try:
            found.entrants.append(await made())
        except BenchError as error:
            found.failures[name] = error.message
            print(f"{name} cannot take part: {error.message}", flush=True)

    pythons: dict[str, Path] = {}
    for name in ("own", "fastembed", "modern-onnx-clip", "infinity", "onnxruntime"):
        try:
            pythons[name] = await environments.make(name)
        except BenchError as error:
            found.failures[name] = error.message
            print(f"the environment {name} cannot be made: {error.message}", flush=True)
    try:
        found.peer_models = await peermodels.make(manifest, checkpoint, _had(pythons, "infinity"))
    except BenchError as error:
        found.failures["the peers' model folders"] = error.message
        print(f"the peers' model folders cannot be made: {error.message}", flush=True)

    def library(name: str, driver: str, environment: str, model: Path | None) -> Callable[[], Awaitable[Entrant]]:
        async def made() -> Entrant:
            if model is None:
                raise BenchError("its model folder could not be made")
            python = Path(sys.executable) if environment == "bench" else _had(pythons, environment)
            return LibraryEntrant(name, f"bench.peers.{driver}", python, model, images)

        return made

    async def queue() -> Entrant:
        contender = contenders.ours(model_dir, image_port=image_port)
        return QueueEntrant(contenders.Contender(OWN_QUEUE, contender.argv, contender.env), urls, True, _MANY)

    async def door() -> Entrant:
        return servers.own_door(model_dir, manifest.model, images)

    async def pytorch() -> Entrant:
        contender = contenders.pytorch(manifest, checkpoint=checkpoint)
        named = contenders.Contender(PYTORCH, contender.argv, contender.env)
        # It serves one job at a time and sleeps for a second whenever it is full: more clients only wait.
        return QueueEntrant(named, urls, False, 4)

    async def infinity_door() -> Entrant:
        if found.peer_models is None:
            raise BenchError("its model folder could not be made")
        return servers.infinity_server(_had(pythons, "infinity"), found.peer_models, images)

    peers = found.peer_models
    await trying(OWN, library(OWN, "own", "own", model_dir))
    await trying(OWN_HTTP, door)
    await trying(OWN_QUEUE, queue)
    await trying(PYTORCH, pytorch)
    reference = peers / peermodels.REFERENCE if peers else None
    await trying(REFERENCE, library(REFERENCE, "reference", "bench", reference))
    await trying(FASTEMBED, library(FASTEMBED, "fastembed", "fastembed", peers))
    await trying(MODERN, library(MODERN, "modern_onnx_clip", "modern-onnx-clip", peers))
    await trying(INFINITY, library(INFINITY, "infinity", "infinity", peers))
    await trying(INFINITY_HTTP, infinity_door)
    await trying(PLAIN, library(PLAIN, "raw_onnxruntime", "onnxruntime", peers))
    await trying(FLOOR, library(FLOOR, "raw_onnxruntime", "onnxruntime", model_dir))
    found.installed_mb = _sizes(pythons)
    return found


def _had(pythons: dict[str, Path], name: str) -> Path:
    if name not in pythons:
        raise BenchError(f"the environment {name} could not be made")
    return pythons[name]


def _sizes(pythons: dict[str, Path]) -> dict[str, float]:
    named = {
        OWN: "own",
        FASTEMBED: "fastembed",
        MODERN: "modern-onnx-clip",
        INFINITY: "infinity",
        PLAIN: "onnxruntime",
    }
    sizes = {name: environments.installed_mb(pythons[key]) for name, key in named.items() if key in pythons}
    if OWN in sizes:
        package = environments.ROOT / "heimdex_clip"
        sizes[OWN] += sum(path.stat().st_size for path in environments.files(package)) / 1e6
    return sizes
