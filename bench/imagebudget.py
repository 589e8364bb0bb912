"""`python -m bench image-budget`: replay each image's build, prove it, and hold its size to its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import imagelayers, imageproof, imagereplay, ratios, section
from bench.imagelayers import MB, Row
from bench.imagereplay import Image
from bench.ratios import Target, Verdict
from heimdex_clip.encoder import engines
from heimdex_clip.errors import ModelError

GB = 1000 * MB
BUDGETS_GB = {"cpu": 1.05, "cuda": 1.75, "tensorrt": 0.9, "tensorrt-rtx": 0.9}
"""Without the base image; a TensorRT engine counts once: RTX's is one for all its compute capabilities."""
EARLIER_GB = 6.0
"""The image that this worker replaces."""
MODEL_TIMES = 1.25
"""A plan's bytes to its fp16 graph's, for want of plans: the largest ratio that was measured (219 to 176 MB)."""
WORKPLACE = imagereplay.ROOT / "build" / "image"
SECTION = "image"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that could still leave an image: files by glob below the packages or the model, and why it stays."""

    glob: str
    stays: str


CANDIDATES = (
    Candidate(
        "nvidia/cu13/lib/libcublasLt.so.*", "one file with kernels for every architecture; cutting it is unsupported"
    ),
    Candidate("nvidia/cu13/lib/libcurand.so.*", "linked by the CUDA provider, used by no operator of the graphs"),
    Candidate("onnxruntime/capi/libonnxruntime_providers_cuda.so", "a build of our own with these operators alone"),
    Candidate("onnxruntime/capi/onnxruntime_pybind11_state*", "a build of our own with these operators alone"),
    Candidate("tensorrt_lean_libs/libnvinfer_lean.so.*", "the lane itself"),
    Candidate("tensorrt_rtx_libs/libtensorrt_rtx.so.*", "the lane itself: runtime and compiler in one"),
    Candidate("tensorrt_rtx_libs/libtensorrt_onnxparser_rtx.so.*", "the bindings link it"),
    Candidate("numpy.libs/*openblas*", "numpy links it; the worker multiplies no matrices with it"),
    Candidate("uvloop", "the HTTP door is faster with it; the queue does not use it"),
    Candidate("text.*", "an endpoint that embeds images alone; not the contract"),
)


async def run(
    lanes: Sequence[str], model_dir: Path, *, python: Path | None = None, document: Path | None = None
) -> int:
    """Replay, prove, print, and write the document's section; returns the exit code. Raises ClipError."""
    accounts: dict[str, list[Row]] = {}
    remaining: dict[str, list[str]] = {}
    python = python or imagereplay.base_python()
    cpu_site = (await imagereplay.replay("cpu", model_dir, WORKPLACE / "cpu", python=python))[0].site
    for lane in lanes:
        image, whole = await imagereplay.replay(lane, model_dir, WORKPLACE / lane, python=python)
        accounts[lane] = account(image, [] if whole else plans_by_estimate(model_dir))
        remaining[lane] = could_leave(image, accounts[lane])
        await imageproof.prove(image, model_dir, runtime_site=None if lane == "cpu" else cpu_site)
        print(f"{lane}: self-test, queue job and HTTP request hold on the image's own packages", flush=True)
    found = verdict(accounts)
    text = report(accounts, remaining, python_version=python.name)
    if document is not None:
        section.replace(document, SECTION, text)
    print(text)
    print(found.line)
    return found.exit_code


def account(image: Image, estimates: Sequence[Row]) -> list[Row]:
    """Every byte of the image's layers, in the Dockerfile's order."""
    return [
        *imagelayers.libraries(image.site),
        *imagelayers.files("model", image.model),
        *estimates,
        imagelayers.whole("code", "worker and heimdex_clip", image.app),
    ]


def plans_by_estimate(model_dir: Path) -> list[Row]:
    """What the plans of one compute capability would take, from the fp16 graphs. Raises ModelError without any."""
    rows = []
    for tower in ("image", "text"):
        size = sum(path.stat().st_size for path in model_dir.glob(f"{tower}.{engines.PRECISION}.onnx*"))
        if not size:
            raise ModelError(f"{model_dir} has no {engines.PRECISION} graph of the {tower} tower")
        rows.append(Row("model", f"{tower}.plan, one engine", int(size * MODEL_TIMES), estimated=True))
    return rows


def could_leave(image: Image, rows: Sequence[Row]) -> list[str]:
    """A line for each candidate that the image has."""
    lines = []
    for candidate in CANDIDATES:
        paths = [path for folder in (image.site, image.model) for path in folder.glob(candidate.glob)]
        size = sum(imagelayers.total_bytes(imagelayers.files("", p)) if p.is_dir() else p.stat().st_size for p in paths)
        if size:
            lines.append(f"- {size / MB:.0f} MB `{candidate.glob}`: {candidate.stays}")
    bytecode = sum(row.bytes for row in rows if row.name == imagelayers.BYTECODE)
    return [*lines, f"- {bytecode / MB:.0f} MB bytecode: without it a start takes about a second longer"]


def verdict(accounts: Mapping[str, Sequence[Row]]) -> Verdict:
    """Each image's size in GB, held to its budget."""
    return ratios.verdict(
        [
            (Target(f"{lane} image, GB", at_most=BUDGETS_GB[lane]), imagelayers.total_bytes(rows) / GB)
            for lane, rows in accounts.items()
        ]
    )


def report(
    accounts: Mapping[str, Sequence[Row]], remaining: Mapping[str, Sequence[str]], *, python_version: str
) -> str:
    """The section of the document: what was made how, a table an image, and what could still leave it."""
    parts = [f"Bytes on disk, uncompressed, without the base image; packages for {python_version}. 1 GB is 10^9 bytes."]
    for lane, rows in accounts.items():
        size_gb = imagelayers.total_bytes(rows) / GB
        parts.append(
            f"### {lane}: {size_gb:.2f} GB of {BUDGETS_GB[lane]:g} ({EARLIER_GB / size_gb:.1f} times smaller"
            f" than {EARLIER_GB:g} GB)\n\n{imagelayers.table(rows)}\n\nWhat could still leave, and why it is there:\n\n"
            + "\n".join(remaining[lane])
        )
    return "\n\n".join(parts)
