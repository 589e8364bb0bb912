"""The encoder: one model folder on one lane, proven against its golden vectors before it serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from heimdex_clip.encoder import engines, golden, manifest, runtimes, tokenizer
from heimdex_clip.encoder.gates import EXPORT_FP16, SELF_TEST, Parity, measure
from heimdex_clip.encoder.golden import Golden
from heimdex_clip.encoder.manifest import Manifest
from heimdex_clip.encoder.preprocess import preprocess
from heimdex_clip.encoder.recovery import DeviceLost, halving
from heimdex_clip.encoder.runtimes.base import Lane, Tower, TowerName
from heimdex_clip.encoder.tokenizer import Tokenizer
from heimdex_clip.errors import InferenceFailed, LaneUnavailable, ModelError

_MAX_PHOTO_PIXELS = 10_000_000


@dataclass(slots=True)
class StartReport:
    """What starting found: why lanes were passed over, parity by tower, milliseconds by step."""

    passed_over: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Parity] = field(default_factory=dict)
    steps_ms: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, started: float) -> None:
        """Record the time since `started` (perf_counter seconds) under `step`."""
        self.steps_ms[step] = round((time.perf_counter() - started) * 1000, 1)


class Encoder:
    """Embeds pixels and texts. Open one with `open_encoder`.

    `encode_pixels` and `encode_texts` may be called from one thread at a time each.
    """

    def __init__(self, folder: Path, model: Manifest, lane: Lane, image_tower: Tower, report: StartReport) -> None:
        self.folder = folder
        self.manifest = model
        self.lane = lane
        self.report = report
        self._image_tower = image_tower
        self._text: tuple[Tokenizer, Tower] | None = None
        self._text_lock = threading.Lock()
        self._lost = ""
        self._tell_lost: Callable[[str], object] = lambda _: None

    @property
    def image_size(self) -> int:
        """Side of the square that the image tower takes, in pixels."""
        return self.manifest.identity.preprocessing.image_size

    @property
    def text_ready(self) -> bool:
        """Whether the text tower is loaded."""
        return self._text is not None

    def watch(self, tell_lost: Callable[[str], object]) -> None:
        """Have `tell_lost` called with the reason, in whatever thread, once nothing more can be encoded here."""
        self._tell_lost = tell_lost
        if self._lost:
            tell_lost(self._lost)

    def lose(self, reason: str) -> None:
        """Encode nothing more, and tell whoever watches; also for a device whose call does not come back."""
        if not self._lost:
            self._lost = reason
            self._tell_lost(reason)

    def encode_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 ``[B, size, size, 3]`` -> float32 ``[B, D]``, not normalised.

        Raises InferenceFailed; once the device is lost, DeviceLost without asking it again.
        """
        return self._run(self._image_tower, pixels)

    def encode_texts(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], tuple[bool, ...]]:
        """Texts -> float32 ``[B, D]``, not normalised, and which were truncated.

        Loads the text tower at the first call. Raises InferenceFailed, ModelError, LaneUnavailable.
        """
        tokenize, tower = self.load_text()
        batch = tokenize(texts)
        return self._run(tower, batch.ids, batch.eot), batch.truncated

    def _run(self, tower: Tower, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        if self._lost:
            raise DeviceLost(self._lost)
        run = partial(_run_fixed, tower, self.lane.batch_sizes)
        starts = range(0, max(1, len(inputs[0])), self.lane.max_batch)
        try:
            return np.concatenate(
                [halving(run, *(part[start : start + self.lane.max_batch] for part in inputs)) for start in starts]
            )
        except DeviceLost as error:
            self.lose(error.message)
            raise

    def load_text(self) -> tuple[Tokenizer, Tower]:
        """Load and self-test the text tower once; later calls return the same."""
        with self._text_lock:
            if self._text is None:
                self._text = self._open_text()
            return self._text

    def _open_text(self) -> tuple[Tokenizer, Tower]:
        started = time.perf_counter()
        tower = _open_checked(self.folder, self.manifest, self.lane, "text", extra=(tokenizer.FILE_NAME,))
        tokenize = Tokenizer.load(self.folder, self.manifest.identity.tokenizer)
        reference = golden.load(self.folder)
        batch = tokenize(reference.texts[: _rows_tested(self.lane, self.manifest)])
        expected = reference.text_embeddings
        self.report.parity["text"] = _self_test(self.lane, self.manifest, tower, expected, batch.ids, batch.eot)
        self.report.timed("text_tower", started)
        return tokenize, tower


def open_encoder(
    folder: Path,
    *,
    runtime: str = runtimes.AUTO,
    auto_may_use_cpu: bool = True,
    expected_manifest_sha256: str = "",
    accept: Callable[[Manifest], None] = lambda _: None,
    lanes: Sequence[Lane] = runtimes.LANES,
) -> Encoder:
    """Open a model folder on the best of `lanes` that `runtime` allows and that passes the self-test.

    Files are hashed beside being loaded, and nothing is returned unless hashes, self-test and the manifest
    (against `expected_manifest_sha256` when given) all hold; `accept` may refuse the manifest by raising, before
    anything is loaded. Raises SettingsError, ModelError,
    LaneUnavailable; the last names every lane's reason.
    """
    report = StartReport()
    started = time.perf_counter()
    model = manifest.load(folder, expected_sha256=expected_manifest_sha256)
    accept(model)
    report.timed("manifest", started)
    for lane, reason in runtimes.candidates(runtime, model, auto_may_use_cpu=auto_may_use_cpu, lanes=lanes):
        if reason is not None:
            report.passed_over[lane.name] = reason
            continue
        try:
            tower = _open_image(folder, model, lane, report)
        except LaneUnavailable as error:
            report.passed_over[lane.name] = str(error)
            continue
        return Encoder(folder, model, lane, tower, report)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in report.passed_over.items())
    raise LaneUnavailable(f"no runtime can serve {folder} ({reasons})")


def _open_image(folder: Path, model: Manifest, lane: Lane, report: StartReport) -> Tower:
    started = time.perf_counter()
    with ThreadPoolExecutor(1, thread_name_prefix="preprocess") as pool:
        reading = pool.submit(_check_preprocessing, folder, model)
        tower = _open_checked(folder, model, lane, "image", extra=(golden.FILE_NAME,))
        reference = reading.result()
    report.timed("image_tower", started)
    started = time.perf_counter()
    pixels = reference.pixels[: _rows_tested(lane, model)]
    report.parity["image"] = _self_test(lane, model, tower, reference.image_embeddings, pixels)
    report.timed("self_test", started)
    return tower


def _check_preprocessing(folder: Path, model: Manifest) -> Golden:
    """Prove on the golden photograph that this machine's decoder and resizer give the reference's bytes."""
    reference = golden.load(folder)
    size = model.identity.preprocessing.image_size
    pixels = preprocess(reference.photo, size=size, max_pixels=_MAX_PHOTO_PIXELS)
    if not np.array_equal(pixels, reference.pixels[0]):
        raise ModelError(f"preprocessing differs from the reference on this machine (Pillow {PIL.__version__})")
    return reference


def _open_checked(folder: Path, model: Manifest, lane: Lane, tower: TowerName, *, extra: tuple[str, ...]) -> Tower:
    """Load a tower while its files are hashed; hashing releases the GIL, so it costs little."""
    own = lane.files(model, tower)
    # An image may ship what one lane needs and leave out the others' files.
    if missing := [name for name in own if not (folder / name).is_file()]:
        raise LaneUnavailable(f"{folder} does not hold {', '.join(missing)}")
    names = (*own, *extra)
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        checks = [pool.submit(manifest.check_file, folder, name, model.entry(name)) for name in names]
        try:
            opened = lane.open(folder, model, tower)
        finally:
            # Also when it failed to open: then an altered file is the true cause.
            for check in checks:
                check.result()
    return opened


def _run_fixed(tower: Tower, sizes: tuple[int, ...], *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
    """Run a batch, padded with copies of its first row to the next fixed size where the lane has such."""
    rows = len(inputs[0])
    padded = next((size for size in sizes if size >= rows), rows)
    if padded > rows:
        inputs = tuple(np.concatenate([part, np.repeat(part[:1], padded - rows, axis=0)]) for part in inputs)
    return tower(*inputs)[:rows]


def _rows_tested(lane: Lane, model: Manifest) -> int | None:
    """One golden vector; all of them where no device held the lane's engine to the export's gate before."""
    return 1 if engines.measured(model, lane.name) else None


def _self_test(
    lane: Lane, model: Manifest, tower: Tower, expected: NDArray[np.float32], *inputs: NDArray[np.generic]
) -> Parity:
    """Run the inputs one by one; an unmeasured engine must pass the export's own gate. Raises LaneUnavailable."""
    gate, rows = SELF_TEST if engines.measured(model, lane.name) else EXPORT_FP16, len(inputs[0])
    try:
        vectors = np.concatenate(
            [_run_fixed(tower, lane.batch_sizes, *(part[row : row + 1] for part in inputs)) for row in range(rows)]
        )
    except InferenceFailed as error:
        raise LaneUnavailable(f"the lane {lane.name} fails its self-test: {error}") from error
    parity = measure(vectors, expected[:rows])
    if not (np.isfinite(vectors).all() and gate.holds(parity)):
        raise LaneUnavailable(f"the lane {lane.name} fails its self-test: {parity}; needed {gate.min_cosine}")
    return parity


def usable(vectors: NDArray[np.float32]) -> list[bool]:
    """Which of float32 ``[B, D]`` may be sent: finite, and norm above 0."""
    good: NDArray[np.bool_] = np.logical_and(np.isfinite(vectors).all(axis=1), vectors.any(axis=1))
    return [bool(one) for one in good]


def normalised(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A usable vector at L2 norm 1, float32 ``[D]``."""
    unit: NDArray[np.float32] = vector / np.sqrt(vector.dot(vector))
    return unit
