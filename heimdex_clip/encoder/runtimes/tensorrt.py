"""The `tensorrt` and `tensorrt-rtx` lanes: prebuilt fp16 engines, on the device that they were built for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from heimdex_clip.encoder import engines
from heimdex_clip.encoder.engines import FIXED_SIZES, OUTPUT, Plan
from heimdex_clip.encoder.manifest import Manifest, read_checked
from heimdex_clip.encoder.runtimes import cuda_driver, trt_api
from heimdex_clip.encoder.runtimes.base import Tower, TowerName
from heimdex_clip.encoder.runtimes.cuda_driver import Driver
from heimdex_clip.encoder.runtimes.cuda_graphs import CudaGraphs
from heimdex_clip.errors import ClipError, LaneUnavailable

_TYPES = {"pixels": "UINT8", "ids": "INT64", "eot": "INT64", OUTPUT: "FLOAT"}


class TensorRtLane:
    """Engines of one flavour: `tensorrt` on the lean runtime, or `tensorrt-rtx`.

    `cache` is the folder where RTX keeps what it compiles, None to keep nothing. `cuda_graphs` captures the fixed
    batch sizes, `tensorrt` through the driver, RTX by itself. `driver` and `api` load what the lane stands on.
    """

    precision: str = engines.PRECISION
    batch_sizes: tuple[int, ...] = FIXED_SIZES
    max_batch = FIXED_SIZES[-1]

    def __init__(
        self,
        flavour: str,
        *,
        cache: Path | None = None,
        cuda_graphs: bool = False,
        driver: Callable[[], Driver] = Driver.load,
        api: Callable[[str], Any] = trt_api.runtime,
        missing: Callable[[str], str | None] = trt_api.missing_runtime,
    ) -> None:
        self.name = flavour
        self._cache = cache
        self.cuda_graphs = cuda_graphs
        self._graphs: dict[TowerName, CudaGraphs] = {}
        self._driver = driver
        self._api = api
        self._missing = missing

    def unavailable(self, manifest: Manifest) -> str | None:
        """Missing package, driver or GPU, or no engine of this manifest's graphs for the GPU."""
        missing = self._missing(self.name)
        if missing:
            return missing
        device = cuda_driver.probe(self._driver)
        if isinstance(device, str):
            return device
        try:
            engines.fit(manifest, self.name, device.compute_capability)
        except ClipError as error:
            return error.message
        return None

    def files(self, manifest: Manifest, tower: TowerName) -> tuple[str, ...]:
        """None to be hashed beside: a plan is code, and `open` hashes it before anything reads it."""
        return ()

    def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
        """Load the plan, once its hash holds. Raises LaneUnavailable or ModelError."""
        from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers, text_lengths
        from heimdex_clip.encoder.runtimes.trt_tower import RuntimeCache, TensorRtTower

        driver = self._driver()
        device = driver.device()
        found = engines.fit(manifest, self.name, device.compute_capability)
        plan = found.plans[tower]
        trt = self._api(self.name)
        if trt.__version__ != found.tensorrt:
            raise LaneUnavailable(f"{plan.file} was built by TensorRT {found.tensorrt}, and {trt.__version__} is here")
        if not (folder / plan.file).is_file():
            raise LaneUnavailable(f"{folder} does not hold {plan.file}")
        entry = manifest.entry(plan.file)
        data = read_checked(folder, plan.file, entry)
        driver.attach()
        keep, engine = trt_api.deserialise(trt, data, plan.file)
        inputs = _check(engine, manifest, tower, plan)
        cache = None
        if self._cache is not None and self.name == "tensorrt-rtx":
            cache = RuntimeCache(trt_api.cache_file(self._cache, entry.sha256, trt, device.name))
        buffers = DeviceBuffers(driver)
        if own := self.cuda_graphs and self.name == "tensorrt":
            self._graphs[tower] = CudaGraphs(driver, buffers.stream)
        by_rtx = self.cuda_graphs and not own
        context = manifest.identity.tokenizer.context_length
        return TensorRtTower(
            engine,
            buffers,
            profiles=plan.profiles,
            inputs=inputs,
            lengths=text_lengths(context),
            dim=manifest.identity.embedding_dim,
            cache=cache,
            keep=keep,
            graphs=self._graphs[tower] if own else None,
            strategy=trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE if by_rtx else None,
        )

    def describe(self) -> dict[str, str]:
        """Versions and device, and what has become of the CUDA graphs where they are wanted."""
        trt = self._api(self.name)
        found = {trt.__name__: str(trt.__version__), **self._driver().device().describe()}
        if self.cuda_graphs and self.name == "tensorrt-rtx":
            found["cuda_graphs"] = "by TensorRT-RTX"
        return found | {f"cuda_graphs_{tower}": graphs.describe() for tower, graphs in self._graphs.items()}


def _check(engine: Any, manifest: Manifest, tower: TowerName, plan: Plan) -> tuple[str, ...]:
    """The engine's inputs in order, once names, types and profiles are the manifest's. Raises LaneUnavailable."""
    expected = [engines.input_shapes(manifest, tower, sizes) for sizes in plan.profiles]
    inputs = tuple(expected[0])
    found = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    if set(found) != {*inputs, OUTPUT}:
        raise LaneUnavailable(f"{plan.file} has the tensors {', '.join(found)}, not {', '.join((*inputs, OUTPUT))}")
    for name in found:
        kind = engine.get_tensor_dtype(name).name
        if kind != _TYPES[name]:
            raise LaneUnavailable(f"{plan.file}: {name} is {kind}, not {_TYPES[name]}")
    if engine.num_optimization_profiles != len(plan.profiles):
        raise LaneUnavailable(
            f"{plan.file} has {engine.num_optimization_profiles} profiles, the manifest {len(plan.profiles)}"
        )
    for index, shapes in enumerate(expected):
        for name, wanted in shapes.items():
            actual = tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(name, index))
            if actual != wanted:
                raise LaneUnavailable(f"{plan.file}: profile {index} of {name} is {actual}, the manifest's {wanted}")
    return inputs
