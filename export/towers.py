"""open_clip's towers rewritten in the form that every runtime builds, on the source's own parameters.

Same numbers, other operators: the patch embedding is a reshape and a matrix product instead of a
convolution, attention is written out over one qkv product, and the last block works only on the row that
the tower reads, because nothing else of its output is used. See docs/adr/0001-graph-form.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

# Far below any attention score and inside fp16's range: fused fp16 kernels turn -inf minus -inf into NaN.
_MASKED = -1e4


class ImageTower(nn.Module):
    """Pixels uint8 ``[B, size, size, 3]`` -> float32 ``[B, D]``, not normalised.

    `visual` is open_clip's VisionTransformer; `mean` and `std` are its normalisation, on a scale of 0 to 1.
    Scaling and normalisation stay in fp32 after `.half()` too.
    """

    def __init__(self, visual: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        kernel = visual.conv1.weight
        self.patch_size = kernel.shape[-1]
        self.grid = visual.image_size[0] // self.patch_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        # [out, c, y, x] -> [out, y * x * c], the order of a patch's bytes in the pixels.
        self.patch_weight = nn.Parameter(kernel.detach().permute(0, 2, 3, 1).reshape(kernel.shape[0], -1))
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre = visual.ln_pre
        self.blocks, self.last = _blocks(visual.transformer)
        self.ln_post = visual.ln_post
        self.projection = visual.proj

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        batch = pixels.shape[0]
        scaled = (pixels.float() / 255 - torch.tensor(self.mean)) / torch.tensor(self.std)
        side, grid = self.patch_size, self.grid
        patches = scaled.reshape(batch, grid, side, grid, side, 3).transpose(2, 3)
        patches = patches.reshape(batch, grid * grid, side * side * 3).to(self.patch_weight.dtype)
        x = linear(patches, self.patch_weight)
        token = self.class_embedding.expand(batch, 1, -1)
        x = self.ln_pre(torch.cat([token, x], dim=1) + self.positional_embedding)
        for block in self.blocks:
            x = block(x)
        x = self.last(x, lambda rows: rows[:, :1])
        vectors: Tensor = (self.ln_post(x) @ self.projection).float()
        return vectors


class TextTower(nn.Module):
    """Ids int64 ``[B, L]`` and the end-of-text index int64 ``[B]`` -> float32 ``[B, D]``, not normalised.

    L may be anything up to the context length: attention is causal, so what stands after the end-of-text
    token changes nothing. `clip` is open_clip's CLIP.
    """

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.blocks, self.last = _blocks(clip.transformer)
        self.ln_final = clip.ln_final
        self.projection = clip.text_projection
        context = clip.context_length
        self.register_buffer("mask", torch.full((context, context), _MASKED).triu(1), persistent=False)

    def forward(self, ids: Tensor, eot: Tensor) -> Tensor:
        """See the class."""
        length = ids.shape[1]
        mask = self.get_buffer("mask")[:length, :length]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        for block in self.blocks:
            x = block(x, mask)
        at = eot[:, None, None].expand(-1, 1, x.shape[-1])
        x = self.last(x, lambda rows: rows.gather(1, at), mask.index_select(0, eot)[:, None, None])
        vectors: Tensor = (self.ln_final(x) @ self.projection).float()
        return vectors


class Block(nn.Module):
    """One residual attention block of open_clip's, over every row."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.heads = source.attn.num_heads
        self.qkv_weight = source.attn.in_proj_weight
        self.qkv_bias = source.attn.in_proj_bias
        self.out = source.attn.out_proj
        self.ln_1 = source.ln_1
        self.ln_2 = source.ln_2
        self.mlp = source.mlp

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``[B, L, W]`` -> ``[B, L, W]``; `mask` ``[L, L]`` is added to the attention scores."""
        q, k, v = linear(self.ln_1(x), self.qkv_weight, self.qkv_bias).chunk(3, dim=-1)
        x = x + self.out(_attend(q, k, v, self.heads, mask))
        moved: Tensor = x + self.mlp(self.ln_2(x))
        return moved


class LastBlock(nn.Module):
    """The last block, for the one row of each item that its tower reads: a twelfth less work, nearly."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        width = source.attn.embed_dim
        self.heads = source.attn.num_heads
        weight, bias = source.attn.in_proj_weight.detach(), source.attn.in_proj_bias.detach()
        self.q_weight, self.kv_weight = nn.Parameter(weight[:width]), nn.Parameter(weight[width:])
        self.q_bias, self.kv_bias = nn.Parameter(bias[:width]), nn.Parameter(bias[width:])
        self.out = source.attn.out_proj
        self.ln_1 = source.ln_1
        self.ln_2 = source.ln_2
        self.mlp = source.mlp

    def forward(self, x: Tensor, pick: Callable[[Tensor], Tensor], mask: Tensor | None = None) -> Tensor:
        """``[B, L, W]`` -> ``[B, W]``, what a `Block` gives at the row that `pick` takes.

        `pick` maps ``[B, L, W]`` to ``[B, 1, W]``; `mask` ``[B, 1, 1, L]`` is that row's.
        """
        normed = self.ln_1(x)
        q = linear(pick(normed), self.q_weight, self.q_bias)
        k, v = linear(normed, self.kv_weight, self.kv_bias).chunk(2, dim=-1)
        row = pick(x) + self.out(_attend(q, k, v, self.heads, mask))
        moved: Tensor = row + self.mlp(self.ln_2(row))
        return moved[:, 0]


def _blocks(transformer: Any) -> tuple[nn.ModuleList, LastBlock]:
    *blocks, last = transformer.resblocks
    return nn.ModuleList(map(Block, blocks)), LastBlock(last)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Multi-head attention of q ``[B, Q, W]`` over k and v ``[B, L, W]`` -> ``[B, Q, W]``."""
    q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2)
