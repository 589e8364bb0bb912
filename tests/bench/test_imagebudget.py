"""The account of an image: every byte once, under the right name, and the verdict on the sum."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bench import imagebudget, imagelayers, imageproof, imagereplay, section
from bench.errors import BenchError
from bench.imagelayers import MB, Row
from bench.imagereplay import Image
from heimdex_clip.errors import ModelError

_REPOSITORY = Path(__file__).parents[2]


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def test_libraries_are_counted_by_package_each_byte_once(tmp_path: Path) -> None:
    write(tmp_path / "one/__init__.py", 3 * MB)
    write(tmp_path / "one.libs/lib.so", 4 * MB)
    write(tmp_path / "one/__pycache__/__init__.cpython-312.pyc", 1 * MB)
    write(tmp_path / "stray.so", 5 * MB)
    (tmp_path / "link.so").symlink_to("stray.so")
    record = tmp_path / "one-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text('one/__init__.py,,\n"one.libs/lib.so",sha256=x,4\none/gone.py,,\n')
    rows = imagelayers.libraries(tmp_path)
    assert [(row.name, row.bytes // MB) for row in rows] == [
        ("one 1.0", 7),
        ("files of no package", 5),
        (imagelayers.BYTECODE, 1),
    ]


def test_the_table_sums_up_layers_and_small_rows() -> None:
    rows = [Row("libraries", "a", 5 * MB), Row("libraries", "b", MB), Row("libraries", "c", MB // 2)]
    table = imagelayers.table([*rows, Row("model", "plan", 10 * MB, estimated=True)])
    assert "| libraries | a | 5.0 |" in table
    assert "| libraries | 2 others under 2 MB | 1.5 |" in table
    assert "| **libraries** | **all** | **6.5** |" in table
    assert "| model | plan (estimated) | 10.0 |" in table
    assert "| **image** | **all, without the base** | **16.5** |" in table


def test_one_image_over_its_budget_fails_the_run() -> None:
    held = {"cpu": [Row("model", "m", 1050 * MB)], "tensorrt": [Row("model", "m", 900 * MB)]}
    assert imagebudget.verdict(held).exit_code == 0
    past = imagebudget.verdict({**held, "cuda": [Row("model", "m", 1751 * MB)]})
    assert past.exit_code == 1
    assert past.line.endswith("MISSED: cuda image, GB")


def test_plans_are_estimated_from_graphs_and_their_weights(tmp_path: Path) -> None:
    for tower in ("image", "text"):
        write(tmp_path / f"{tower}.fp16.onnx", 100)
        write(tmp_path / f"{tower}.fp16.onnx.data", 300)
    rows = imagebudget.plans_by_estimate(tmp_path)
    assert [row.bytes for row in rows] == [500, 500]
    assert all(row.estimated for row in rows)
    with pytest.raises(ModelError, match="no fp16 graph of the image tower"):
        imagebudget.plans_by_estimate(tmp_path / "nowhere")


def test_what_could_leave_is_listed_only_where_it_is(tmp_path: Path) -> None:
    image = Image("cpu", tmp_path / "site", tmp_path / "model", tmp_path / "app", Path("python3"))
    write(image.site / "uvloop/loop.so", 16 * MB)
    write(image.model / "text.fp32.onnx", 7 * MB)
    lines = imagebudget.could_leave(image, [Row("libraries", imagelayers.BYTECODE, 2 * MB)])
    assert [line.split(" MB")[0] for line in lines] == ["- 16", "- 7", "- 2"]


def test_a_section_replaces_its_own_text_and_no_other(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("before\n<!-- begin image -->\nold\n<!-- end image -->\nafter\n")
    section.replace(document, "image", "new")
    assert document.read_text() == "before\n<!-- begin image -->\nnew\n<!-- end image -->\nafter\n"
    with pytest.raises(BenchError, match="no <!-- begin gpu -->"):
        section.replace(document, "gpu", "new")


# ---- the packages that an image leaves out ---------------------------------------------------------------


@pytest.fixture(scope="module")
def python() -> Path:
    return imagereplay.base_python()


def packages() -> Iterable[Distribution]:
    """What the CPU image installs, as this environment has it: the same lock."""
    for line in (_REPOSITORY / "requirements/image-cpu.txt").read_text().splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                yield distribution(requirement.name)


@pytest.fixture
def linked(tmp_path: Path, python: Path) -> Callable[[str], Image]:
    """An image's folders with this environment's packages as links, but for one."""

    def make(without: str) -> Image:
        image = Image("cpu", tmp_path / "site", tmp_path / "model", tmp_path / "app", python)
        image.site.mkdir()
        for package in packages():
            if package.metadata["Name"] == without:
                continue
            for name in {file.parts[0] for file in package.files or () if ".." not in file.parts}:
                (image.site / name).symlink_to(Path(str(package.locate_file(name))))
        for name in imagereplay.CODE:
            shutil.copytree(_REPOSITORY / name, image.app / name)
        return image

    return make


async def test_the_image_works_on_what_it_installs_alone(linked: Callable[[str], Image], model_dir: Path) -> None:
    await imageproof.prove(linked(""), model_dir)


async def test_a_package_that_is_missing_fails_the_proof(linked: Callable[[str], Image], model_dir: Path) -> None:
    with pytest.raises(BenchError, match=r"the self-test fails.*No module named 'regex'"):
        await imageproof.prove(linked("regex"), model_dir)
