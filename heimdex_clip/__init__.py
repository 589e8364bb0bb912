"""Signed CLIP embeddings from a RunPod endpoint: the client, the contract and the encoder."""

from heimdex_clip.signing import sign_v1, sign_v2

__all__ = ["sign_v1", "sign_v2"]
