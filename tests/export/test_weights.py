from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from torch import nn

from export import golden_inputs, oracle, weights
from export.progress import Progress
from export.weights import Source, Weights, resolve, state_sha256
from heimdex_clip.encoder import manifest
from heimdex_clip.errors import ModelError, SettingsError
from tests.export.support import TINY, file_server

Save = Callable[[Any, Path], Path]


def _scripted(clip: Any, path: Path) -> Path:
    """OpenAI's form: a TorchScript archive with three whole numbers beside the weights."""

    class Archive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, child in clip.named_children():
                self.add_module(name, child)
            for name, parameter in clip.named_parameters(recurse=False):
                self.register_parameter(name, parameter)
            for name, number in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
                self.register_buffer(name, torch.tensor(number))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(Archive(), torch.zeros(1), check_trace=False), path)  # type: ignore[no-untyped-call]
    return path


def _plain(clip: Any, path: Path) -> Path:
    torch.save(clip.state_dict(), path)
    return path


def _training(clip: Any, path: Path) -> Path:
    """As a data-parallel training run leaves it."""
    state = {f"module.{name}": value for name, value in clip.state_dict().items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"lr": 0.1}}, path)
    return path


def _safetensors(clip: Any, path: Path) -> Path:
    safetensors.torch.save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, path)
    return path


@pytest.fixture
def resolved(tmp_path: Path, progress: Progress) -> Callable[..., Weights]:
    def run(**fields: Any) -> Weights:
        return resolve(replace(Source(model=TINY), **fields), cache=tmp_path / "cache", progress=progress)

    return run


def _vectors(made: Weights) -> np.ndarray[Any, Any]:
    return oracle.image_vectors(made, golden_inputs.pixels(64)[:2])


@pytest.mark.parametrize(
    ("save", "name"),
    [(_scripted, "tiny.pt"), (_plain, "tiny.pt"), (_training, "tiny.bin"), (_safetensors, "tiny.safetensors")],
)
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_every_kind_of_checkpoint_gives_its_vectors(
    tiny_weights: Weights, tmp_path: Path, resolved: Callable[..., Weights], save: Save, name: str, quick_gelu: bool
) -> None:
    path = save(tiny_weights.clip, tmp_path / name)
    made = resolved(checkpoint=path, tag="mine", quick_gelu=quick_gelu)
    assert (made.pretrained, made.quick_gelu, made.untrained) == ("mine", quick_gelu, False)
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not made.clip.training
    assert np.array_equal(_vectors(made), _vectors(tiny_weights)) == quick_gelu


def test_half_weights_are_widened(tiny_weights: Weights, tmp_path: Path, resolved: Callable[..., Weights]) -> None:
    state = {name: value.half() for name, value in tiny_weights.clip.state_dict().items()}
    torch.save(state, tmp_path / "half.pt")
    made = resolved(checkpoint=tmp_path / "half.pt", tag="half", quick_gelu=True)
    assert {value.dtype for value in made.clip.state_dict().values()} == {torch.float32}
    np.testing.assert_allclose(_vectors(made), _vectors(tiny_weights), atol=0.05)


class _Trap:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, resolved: Callable[..., Weights]) -> None:
    proof = tmp_path / "executed"
    torch.save({"state_dict": _Trap(proof)}, tmp_path / "trap.pt")
    with pytest.raises(ModelError, match=r"trap\.pt holds more than tensors, and code in it is never run"):
        resolved(checkpoint=tmp_path / "trap.pt", tag="trap", quick_gelu=True)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.proj"), "it lacks visual.proj"),
        (lambda state: state.update(extra=torch.zeros(1)), "it has the unknown extra"),
        (lambda state: state.update({"ln_final.bias": torch.zeros(7)}), "another shape for ln_final.bias"),
        (lambda state: state["ln_final.bias"].fill_(float("nan")), "not finite"),
        (lambda state: state.clear(), "holds no state dict"),
        (lambda state: state.update(note="text"), "holds no state dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tiny_weights: Weights,
    tmp_path: Path,
    resolved: Callable[..., Weights],
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    state = {name: value.clone() for name, value in tiny_weights.clip.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=message):
        resolved(checkpoint=tmp_path / "odd.pt", tag="odd", quick_gelu=True)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 broken", b"\x10\0\0\0\0\0\0\0{not json"], ids=["empty", "text", "zip", "st"]
)
def test_files_that_are_no_checkpoint_are_one_line(
    tmp_path: Path, resolved: Callable[..., Weights], content: bytes
) -> None:
    (tmp_path / "odd.pt").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        resolved(checkpoint=tmp_path / "odd.pt", tag="odd", quick_gelu=True)
    assert "odd.pt" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"cannot read .*absent\.pt"):
        resolved(checkpoint=tmp_path / "absent.pt", tag="odd", quick_gelu=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "name it with --tag"),
        ({"tag": "openai", "quick_gelu": True}, "--tag 'openai'"),
        ({"tag": "OpenAI", "quick_gelu": True}, "--tag 'OpenAI'"),
        ({"tag": "untrained-0", "quick_gelu": True}, "--tag 'untrained-0'"),
        ({"tag": "../up", "quick_gelu": True}, "--tag '../up'"),
        ({"tag": "mine"}, "--quick-gelu or --no-quick-gelu"),
        ({"tag": "mine", "quick_gelu": True, "untrained": 1}, "exclude each other"),
    ],
)
def test_a_checkpoint_must_be_described(
    tiny_weights: Weights,
    tmp_path: Path,
    resolved: Callable[..., Weights],
    fields: dict[str, Any],
    message: str,
) -> None:
    path = _plain(tiny_weights.clip, tmp_path / "tiny.pt")
    with pytest.raises(SettingsError, match=message):
        resolved(checkpoint=path, **fields)


def test_untrained_weights_follow_from_their_seed_alone(resolved: Callable[..., Weights]) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    one, again, other = resolved(untrained=1), resolved(untrained=1), resolved(untrained=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.sha256 == again.sha256 != other.sha256
    assert (one.pretrained, one.untrained) == ("untrained-1", True)
    with pytest.raises(SettingsError, match="--untrained -1"):
        resolved(untrained=-1)
    with pytest.raises(SettingsError, match="none is given"):
        resolved(untrained=1, tag="mine")


def test_seeded_weights_too_take_the_activation_of_the_published_configuration(model_dir: Path) -> None:
    assert not open_clip.get_model_config("ViT-B-32").get("quick_gelu", False)  # what open_clip itself would build
    assert manifest.load(model_dir).identity.quick_gelu


def test_the_hash_covers_names_types_shapes_and_values() -> None:
    base = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3.0)}
    variants = [
        base,
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].double(), "b": base["b"]},
        {"a": base["a"].reshape(2, 1), "b": base["b"]},
        {"a": base["a"] + 1, "b": base["b"]},
    ]
    assert len({state_sha256(state) for state in variants}) == len(variants)
    assert state_sha256(dict(reversed(base.items()))) == state_sha256(base)


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "RN50", "coca_ViT-B-32", "convnext_base", "roberta-ViT-B-32"])
def test_towers_of_another_kind_are_refused(resolved: Callable[..., Weights], model: str) -> None:
    with pytest.raises(ModelError, match=f"{model} is not a plain CLIP ViT"):
        resolved(model=model, untrained=0)


def test_unknown_models_and_tags_are_refused(resolved: Callable[..., Weights]) -> None:
    with pytest.raises(ModelError, match="knows no model 'ViT-Z'"):
        resolved(model="ViT-Z", untrained=0)
    with pytest.raises(ModelError, match="only --pretrained openai is fetched"):
        resolved(pretrained="laion400m_e32")
    with pytest.raises(ModelError, match=f"published no weights for {TINY}; give --checkpoint FILE, or --untrained"):
        resolved()


def test_published_weights_are_fetched_and_known_by_their_hash(
    tiny_weights: Weights, tmp_path: Path, resolved: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _scripted(tiny_weights.clip, tmp_path / "tiny.pt")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with file_server() as server:
        server.files[f"/{sha256}/tiny.pt"] = path.read_bytes()
        published = {"openai": {"url": f"{server.url}/{sha256}/tiny.pt", "quick_gelu": True}}
        # open_clip's own table of published weights, with one entry more.
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, published)
        fetched = resolved()
    assert (fetched.pretrained, fetched.quick_gelu, fetched.sha256) == ("openai", True, sha256)
    assert np.array_equal(_vectors(fetched), _vectors(tiny_weights))
    # The same file from anywhere is `openai` too, and cannot be called otherwise.
    assert resolved(checkpoint=path).pretrained == weights.OPENAI
    with pytest.raises(SettingsError, match="leave --tag and --quick-gelu out"):
        resolved(checkpoint=path, quick_gelu=False)
    # The server is gone; the cache holds.
    assert resolved().sha256 == sha256


def test_without_a_network_the_ways_on_are_named(
    resolved: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = {"openai": {"url": f"http://127.0.0.1:9/{'0' * 64}/tiny.pt", "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, published)
    with pytest.raises(ModelError, match=r"cannot download tiny\.pt .*--checkpoint FILE.*--untrained SEED"):
        resolved()
