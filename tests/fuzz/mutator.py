"""Changes a JSON text as JSON, so that most inputs get beyond the parser."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from random import Random
from typing import Any

from tests.fuzz.hostile import FIELDS, SHALLOW

Mutate = Callable[[bytes, int], bytes]
Place = tuple[Any, Any]
"""A container and the key or index in it."""


def json_mutator(plain: Mutate) -> Callable[[bytes, int, int], bytes]:
    """libFuzzer's custom mutator; `plain` changes bytes, and takes over where that is no JSON."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return plain(data, max_size)
        try:
            root = [json.loads(data)]
            for _ in range(random.choice((1, 1, 2, 4))):
                _change(root, random)
            changed = json.dumps(root[0], ensure_ascii=random.random() < 0.7).encode(errors="surrogatepass")
        except (ValueError, RecursionError):
            return plain(data, max_size)
        return changed if len(changed) <= max_size else plain(data, max_size)

    return mutate


def _change(root: list[Any], random: Random) -> None:
    places = list(_places(root))
    holder, key = random.choice(places)
    value = holder[key]
    match random.randrange(8):
        case 0 | 1:
            holder[key] = _hostile(random)
        case 2:
            other, name = random.choice(places)
            holder[key] = copy.deepcopy(other[name])
        case 3 if isinstance(value, dict):
            value[random.choice(FIELDS)] = _hostile(random)
        case 3 if isinstance(value, list):
            value.insert(random.randint(0, len(value)), _hostile(random))
        case 4 if holder is not root:
            del holder[key]
        case 5:
            holder[key] = [value] if random.random() < 0.5 else {random.choice(FIELDS): value}
        case _:
            holder[key] = _tweaked(value, random)


def _hostile(random: Random) -> object:
    return copy.deepcopy(random.choice(SHALLOW))


def _tweaked(value: object, random: Random) -> object:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + random.choice((-1, 1, 1 << random.randrange(80)))
    if isinstance(value, float):
        return -value
    if isinstance(value, str):
        at = random.randint(0, len(value))
        cut = at + random.randrange(4)
        return value[:at] + random.choice(("", "\x00", "é", "\ud800", "/", "@", "9", "&", " ")) + value[cut:]
    return value


def _places(holder: MutableSequence[Any] | MutableMapping[str, Any]) -> Iterator[Place]:
    """Every place of a tree, parents first."""
    waiting: list[Any] = [holder]
    while waiting:
        current = waiting.pop()
        for key in list(current) if isinstance(current, dict) else range(len(current)):
            yield current, key
            if isinstance(current[key], dict | list):
                waiting.append(current[key])
