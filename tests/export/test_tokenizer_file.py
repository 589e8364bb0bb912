from __future__ import annotations

import json
from pathlib import Path

import pytest

from export import tokenizer_file
from heimdex_clip.encoder import tokenizer
from heimdex_clip.errors import ModelError


def test_the_file_is_the_same_each_time_and_its_ids_are_open_clips(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (tokenizer_file.write(tmp_path / name, 77) for name in "ab")
    assert first == second
    assert (first.context_length, first.sot, first.eot) == (77, 49406, 49407)
    name = tokenizer.FILE_NAME
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    tokens = tokenizer.Tokenizer.load(tmp_path / "a", first).encode("<start_of_text>hello world! <end_of_text>")
    assert tokens == [49406, 3306, 1002, 256, 49407]


def test_another_context_length_truncates_there(tmp_path: Path) -> None:
    identity = tokenizer_file.write(tmp_path, 16)
    batch = tokenizer.Tokenizer.load(tmp_path, identity)(["word " * 40])
    assert batch.ids.shape == (1, 16)
    assert batch.truncated == (True,)


def test_a_tokenizer_that_merges_otherwise_is_refused(tmp_path: Path) -> None:
    identity = tokenizer_file.write(tmp_path, 77)
    path = tmp_path / tokenizer.FILE_NAME
    document = json.loads(path.read_text())
    document["model"]["merges"] = [pair for pair in document["model"]["merges"] if "".join(pair) != "hello</w>"]
    path.write_text(json.dumps(document))
    with pytest.raises(ModelError, match="other token ids than open_clip for 'hello'"):
        tokenizer_file.prove(tmp_path, identity, ["cat", "hello"])


def test_the_proof_has_hundreds_of_strings_the_same_every_time() -> None:
    strings = tokenizer_file.proof_strings()
    assert len(set(strings)) > 500
    assert strings == tokenizer_file.proof_strings()
    assert any(len(text.split()) > 77 for text in strings)
