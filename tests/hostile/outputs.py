"""Everything that a process lets out, searched for secrets. A find names the secret and the output, never the value."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Mapping
from urllib.parse import quote

import pytest

_PREFIX_CHARS = 16


class Outputs:
    """Texts by where they came from, and the secrets that none of them may hold."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._forms = {name: _forms(value) for name, value in secrets.items()}
        self._texts: dict[str, str] = {}

    def add(self, where: str, what: object) -> None:
        """Bytes as latin-1, text as it is, anything else by its `repr`."""
        text = what.decode("latin-1") if isinstance(what, bytes) else what if isinstance(what, str) else repr(what)
        self._texts[where] = self._texts.get(where, "") + text + "\n"

    def add_error(self, where: str, error: BaseException) -> None:
        """All that a caller can print of an exception: itself, its arguments and notes, its traceback and causes."""
        notes = getattr(error, "__notes__", [])
        shown = (str(error), repr(error), repr(error.args), repr(notes), *traceback.format_exception(error))
        self.add(where, "\n".join(shown))

    def __len__(self) -> int:
        return len(self._texts)

    def assert_clean(self) -> None:
        """Fail with a list of which secret stands in which output."""
        found = [
            f"{where} holds {name}"
            for where, text in self._texts.items()
            for name, forms in self._forms.items()
            if any(form in text for form in forms)
        ]
        if found:
            pytest.fail("\n".join(found), pytrace=False)


def _forms(secret: str) -> set[str]:
    """A secret as it could show: whole, its beginning, encoded."""
    data = secret.encode()
    return {
        secret[:_PREFIX_CHARS],
        quote(secret, safe=""),
        base64.b64encode(data).decode().rstrip("="),
        data.hex(),
    }
