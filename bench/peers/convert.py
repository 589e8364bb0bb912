"""One checkpoint -> the model folders that the peers read: the same weights, the same activation for each.

``python -m bench.peers.convert MODEL CHECKPOINT QUICK_GELU OUT`` writes below OUT

- ``hf/``: transformers' CLIPModel, for infinity (its tokenizer files come from `bench.peers.hf_finish`);
- ``onnx_clip/``: modern-onnx-clip's layout. Its own converter is not used: under today's PyTorch it makes graphs for
  one image only, and for OpenAI's weights it takes plain GELU unless the model is named ``ViT-B-32-quickgelu``;
- ``fastembed-vision/``, ``fastembed-text/``: Qdrant's layout around the same image graph, and a text graph
  that takes ids of any length, as theirs does.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.export import Dim

from export.towers import TextTower

_VOCABULARY_ENDS = 49152 - 256 - 2 + 1
_IMAGE = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_hidden_layers": 12}
_RENAMED = {
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
}
_PREPROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 224},
}


def transformers_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's ViT state under the names that transformers' CLIPModel has for the same tensors.

    open_clip keeps query, key and value as one matrix and multiplies by its projections from the right.
    """
    renamed: dict[str, Tensor] = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_projection.weight": state["text_projection"].T,
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    for theirs, ours in (
        ("vision_model.pre_layrnorm", "visual.ln_pre"),
        ("vision_model.post_layernorm", "visual.ln_post"),
        ("text_model.final_layer_norm", "ln_final"),
    ):
        for part in ("weight", "bias"):
            renamed[f"{theirs}.{part}"] = state[f"{ours}.{part}"]
    for theirs, ours in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        renamed |= _blocks(state, f"{ours}.resblocks.", f"{theirs}.encoder.layers.")
    return {name: tensor.contiguous().clone() for name, tensor in renamed.items()}


def _blocks(state: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith(ours):
            continue
        number, _, rest = name.removeprefix(ours).partition(".")
        if rest.startswith("attn.in_proj_"):
            part = rest.removeprefix("attn.in_proj_")
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{theirs}{number}.self_attn.{letter}_proj.{part}"] = third
            continue
        stem, _, part = rest.rpartition(".")
        renamed[f"{theirs}{number}.{_RENAMED[stem]}.{part}"] = tensor
    return renamed


def write_transformers(folder: Path, state: dict[str, Tensor], *, quick_gelu: bool) -> None:
    """A folder that `CLIPModel.from_pretrained` loads, less the tokenizer's own file."""
    folder.mkdir(parents=True)
    activation = {"hidden_act": "quick_gelu" if quick_gelu else "gelu", "projection_dim": 512}
    text = {**_TEXT, **activation, "bos_token_id": 49406, "eos_token_id": 49407, "vocab_size": 49408}
    vision = {**_IMAGE, **activation, "image_size": 224, "patch_size": 32}
    config = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": 512,
        "text_config": {**text, "max_position_embeddings": 77, "model_type": "clip_text_model"},
        "vision_config": {**vision, "model_type": "clip_vision_model"},
        "torch_dtype": "float32",
    }
    _json(folder / "config.json", config)
    _json(folder / "preprocessor_config.json", _PREPROCESSOR)
    merges = list(_merges(_vocabulary()))
    byte_tokens = list(_byte_tokens())
    tokens = [*byte_tokens, *(token + "</w>" for token in byte_tokens), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    _json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    save_file(transformers_state(state), folder / "model.safetensors", metadata={"format": "pt"})


def _vocabulary() -> Path:
    return Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"


def _merges(path: Path) -> Iterator[tuple[str, str]]:
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    for line in lines[1:_VOCABULARY_ENDS]:
        first, second = line.split()
        yield first, second


def _byte_tokens() -> Iterator[str]:
    """The 256 bytes as the characters that stand for them, in the vocabulary's order."""
    from open_clip.tokenizer import bytes_to_unicode

    yield from bytes_to_unicode().values()


def write_onnx_clip(folder: Path, model: str, clip: Any) -> None:
    """open_clip's own towers under modern-onnx-clip's names, and the vocabulary that it would fetch at its start."""
    folder.mkdir(parents=True)
    _export(clip.visual, torch.zeros(2, 3, 224, 224), folder / "visual.onnx", "image", "embedding")
    ids = torch.ones(2, clip.context_length, dtype=torch.int64)
    _export(_EncodeText(clip), ids, folder / "textual.onnx", "text", "text_embedding")
    facts = {"model_name": model, "image_size": 224, "context_length": 77, "vocab_size": 49408, "output_dim": 512}
    _json(folder / "config.json", facts)
    shutil.copy(_vocabulary(), folder)


def _export(
    tower: nn.Module, example: Tensor, path: Path, takes: str, gives: str, *, free: dict[int, Any] | None = None
) -> None:
    """One tower by PyTorch's exporter as it comes, with a free batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower.eval(),
            (example,),
            str(path),
            dynamo=True,
            opset_version=18,
            input_names=[takes],
            output_names=[gives],
            dynamic_shapes=({0: Dim("batch", min=1, max=4096), **(free or {})},),
            verbose=False,
        )


def write_fastembed(out: Path, visual: Path, clip: Any) -> None:
    """The two folders of Qdrant's layout; tokenizer files are added where they are made."""
    vision, text = out / "fastembed-vision", out / "fastembed-text"
    for folder in (vision, text):
        folder.mkdir(parents=True)
    for file in visual.parent.glob("visual.onnx*"):
        # The graph names its file of weights, so that one keeps its name.
        (vision / ("model.onnx" if file == visual else file.name)).hardlink_to(file)
    _json(vision / "preprocessor_config.json", _PREPROCESSOR)
    length = Dim("length", min=2, max=77)
    ids = torch.ones(2, 40, dtype=torch.int64)
    _export(_Text(clip), ids, text / "model.onnx", "input_ids", "text_embeds", free={1: length})


class _EncodeText(nn.Module):
    """`encode_text` as a module."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, text: Tensor) -> Tensor:
        """See the class."""
        vectors: Tensor = self.clip.encode_text(text)
        return vectors


class _Text(nn.Module):
    """Ids alone -> vectors: the end-of-text token is the largest id, as transformers' model finds it."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.tower = TextTower(clip)

    def forward(self, input_ids: Tensor) -> Tensor:
        """See the class."""
        vectors: Tensor = self.tower(input_ids, input_ids.argmax(dim=-1))
        return vectors


def write_check(path: Path, clip: Any) -> None:
    """Fixed tensors and open_clip's vectors for them, by which the converted model is proven."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(4, 3, 224, 224, generator=generator)
    ids = open_clip.get_tokenizer("ViT-B-32")(["a photo of a cat", "two dogs on a beach at sunset", "a diagram"])
    with torch.no_grad():
        images, texts = clip.encode_image(pixels), clip.encode_text(ids)
    arrays = {"pixels": pixels, "ids": ids, "images": images, "texts": texts}
    np.savez(path, **{name: tensor.numpy() for name, tensor in arrays.items()})


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def main(argv: Sequence[str]) -> None:
    """See the module."""
    model, checkpoint, quick, out = argv[0], Path(argv[1]), argv[2] == "1", Path(argv[3])
    write_transformers(out / "hf", load_file(checkpoint), quick_gelu=quick)
    clip, _, _ = open_clip.create_model_and_transforms(model, pretrained=str(checkpoint), quick_gelu=quick)
    write_check(out / "hf" / "check.npz", clip.eval())
    write_onnx_clip(out / "onnx_clip", model, clip)
    write_fastembed(out, out / "onnx_clip" / "visual.onnx", clip)


if __name__ == "__main__":
    main(sys.argv[1:])
