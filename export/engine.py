"""A model folder -> the same with an engine of it, recorded only if it holds where it can be run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.checkpoint import sha256_of
from export.engine_build import Target, build
from export.progress import Progress
from heimdex_clip.encoder import engines, golden, manifest
from heimdex_clip.encoder.encoder import Encoder, StartReport
from heimdex_clip.encoder.engines import FIXED_SIZES, Engine, Plan
from heimdex_clip.encoder.gates import EXPORT_FP16, Parity, measure
from heimdex_clip.encoder.manifest import FileEntry, Manifest
from heimdex_clip.encoder.runtimes.base import Lane
from heimdex_clip.errors import ClipError, ModelError

TOWERS = ("image", "text")


@dataclass(frozen=True, slots=True)
class Device:
    """Where the engine can be run at once: the GPU's name and the lane on it."""

    name: str
    lane: Lane


def make(folder: Path, trt: Any, target: Target, device: Device | None, progress: Progress) -> Engine:
    """Build both plans, hold them to the gate on `device`, and record them in the folder's manifest.

    Without a device they are recorded as not measured. Raises ModelError when a graph is altered, cannot be built or
    fails the gate, and SettingsError; then the folder is as it was before.
    """
    model = manifest.load(folder)
    name = engines.name(target.flavour, target.capabilities)
    profiles = engines.default_profiles(target.flavour)
    with _place(folder / "engines" / name) as place:
        files, plans = {}, {}
        for tower in TOWERS:
            for source in model.graph_files(tower, engines.PRECISION):
                manifest.check_file(folder, source, model.entry(source))
            shapes = tuple(engines.input_shapes(model, tower, sizes) for sizes in profiles)
            path = place / f"{tower}.plan"
            with progress.step(f"building the {tower} tower's plan"):
                path.write_bytes(build(trt, folder / model.graph(tower, engines.PRECISION), shapes, target, progress))
            file = f"engines/{name}/{path.name}"
            files[file] = FileEntry(sha256_of(path), path.stat().st_size)
            plans[tower] = Plan(file, engines.sources(model, tower), profiles)
        engine = Engine(target.flavour, target.capabilities, str(trt.__version__), engines.PRECISION, plans)
        with_plans = replace(model, files={**model.files, **files})
        _take(place, folder / "engines" / name)
        if device is not None:
            engine = _measured(folder, with_plans, name, engine, device, progress)
        _recorded(with_plans, name, engine).save(folder)
    return engine


def _recorded(model: Manifest, name: str, engine: Engine) -> Manifest:
    return replace(model, engines={**model.engines, name: engine})


def _measured(folder: Path, model: Manifest, name: str, engine: Engine, device: Device, progress: Progress) -> Engine:
    """The engine with its parity on the device. Raises ModelError when it fails the gate."""
    # Alone, so that the lane can take no other.
    candidate = replace(model, engines={name: engine})
    with progress.step(f"parity on {device.name}"):
        try:
            parities = measure_lane(folder, candidate, device.lane)
        except ClipError as error:
            raise ModelError(f"the engine is not recorded: {error}") from error
    for tower, parity in parities.items():
        progress.say(f"  {tower}: {parity}")
        if not EXPORT_FP16.holds(parity):
            raise ModelError(
                f"the engine is not recorded: its {tower} tower fails the gate '{EXPORT_FP16.name}':"
                f" {parity}; needed cosine >= {EXPORT_FP16.min_cosine}"
            )
    plans = {tower: replace(plan, parity=parities[tower]) for tower, plan in engine.plans.items()}
    return replace(engine, plans=plans, measured_on=device.name)


def measure_lane(folder: Path, model: Manifest, lane: Lane) -> dict[str, Parity]:
    """Each tower's parity over the golden vectors at every fixed batch size. Raises what the lane raises."""
    stored = golden.load(folder)
    encoder = Encoder(folder, model, lane, lane.open(folder, model, "image"), StartReport())
    images, texts = [], []
    for size in FIXED_SIZES:
        rows = np.arange(size) % len(stored.pixels)
        images.append(measure(encoder.encode_pixels(stored.pixels[rows]), stored.image_embeddings[rows]))
        rows = np.arange(size) % len(stored.texts)
        vectors, _ = encoder.encode_texts([stored.texts[row] for row in rows])
        texts.append(measure(vectors, stored.text_embeddings[rows]))
    return {"image": _worst(images), "text": _worst(texts)}


def _worst(parities: list[Parity]) -> Parity:
    # np.min and np.max hand a NaN on, which no gate passes.
    return Parity(
        min_cosine=float(np.min([parity.min_cosine for parity in parities])),
        max_abs=float(np.max([parity.max_abs for parity in parities])),
        vectors=sum(parity.vectors for parity in parities),
    )


@contextmanager
def _place(final: Path) -> Iterator[Path]:
    """A new folder beside `final`, for `_take`; when the block fails, what was at `final` is there again."""
    folder, kept = None, final.with_name(f"{final.name}.old")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
        folder.chmod(0o755)
        yield folder
    except BaseException as error:
        if folder is not None and not folder.exists():  # it was moved to its place
            shutil.rmtree(final, ignore_errors=True)
            if kept.exists():
                kept.rename(final)
        if isinstance(error, OSError):
            raise ModelError(f"cannot write {final} ({error.strerror or error})") from None
        raise
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)


def _take(folder: Path, final: Path) -> None:
    if final.exists():
        final.rename(final.with_name(f"{final.name}.old"))
    folder.rename(final)
