"""docs/client.md: its examples run, its variables are the client's, its commands exist."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from heimdex_clip import __main__, errors
from heimdex_clip._settings import ClientSettings
from tests import tiny_model
from tests.e2e.rig import ImageServer, picture

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^python -m heimdex_clip (.*)$", TEXT, re.MULTILINE)
VARIABLES = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?)\| [^|]+ \|$", TEXT, re.MULTILINE))
OUTPUT = [["5 local ", ""], ["similarity ", "5", "IMAGE_INVALID"]]


def test_there_are_examples() -> None:
    assert (len(EXAMPLES), len(COMMANDS)) == (len(OUTPUT), 2)


@pytest.mark.parametrize(("example", "printed"), list(zip(EXAMPLES, OUTPUT, strict=True)))
async def test_the_examples_run(
    example: str,
    printed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "scene.jpg").write_bytes(picture(1))
    monkeypatch.chdir(tmp_path)
    async with ImageServer().running() as images:
        for name, value in {
            "CLIP_INFERENCE_BACKEND": "local",
            "CLIP_MODEL_DIR": str(tiny_model.build(tmp_path / "model")),
            "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8",
            "ALLOWED_IMAGE_PORTS": str(images.port),
        }.items():
            monkeypatch.setenv(name, value)
        example = example.replace("https://example.com/scene.jpg", images.url("/picture/1.jpg"))
        await asyncio.to_thread(exec, compile(example, "client.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(start) for line, start in zip(lines, printed, strict=False))
    assert len(lines) == len([start for start in printed if start])


def test_the_variables_are_the_clients() -> None:
    names: set[str] = set()

    class Seen(Mapping[str, str]):
        def __getitem__(self, name: str) -> str:
            names.add(name)
            if name == "CLIP_INFERENCE_BACKEND":
                return "off"
            raise KeyError(name)

        def __iter__(self) -> Iterator[str]:
            return iter(())

        def __len__(self) -> int:
            return 0

    settings = ClientSettings.read(Seen())
    assert set(VARIABLES) == names
    assert VARIABLES["RUNPOD_TIMEOUT_S"] == f"`{settings.timeout_s:g}` "
    assert VARIABLES["RUNPOD_ATTEMPT_TIMEOUT_S"] == f"`{settings.attempt_timeout_s:g}` "
    assert VARIABLES["RUNPOD_ENDPOINT_BASE_URL"] == f"`{settings.base_url}` "


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = shlex.split(command.replace("https://models.example", str(tmp_path)).replace("/models/", f"{tmp_path}/"))
    assert __main__.main(argv, {}) == 1  # there is nothing to work on, which is not the usage's fault
    out, err = capsys.readouterr()
    assert (
        "no model at" in err or "cannot read" in err or out.startswith("✗ configuration        RUNPOD_API_KEY is not")
    )


def test_the_codes_are_those_of_the_tree() -> None:
    codes = {getattr(errors, name).code for name in dir(errors) if hasattr(getattr(errors, name), "code")}
    section = TEXT.split("## When something fails")[1].split("\n## ")[0]
    assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", section)) <= codes | {"AUTH_FAILED", "EXPECTED_MODEL_DIGEST"}
