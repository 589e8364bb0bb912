"""Signatures: openssl's vectors, and everything that must not pass for one."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdex_clip.errors import AuthExpired, AuthFailed, InvalidRequest, SettingsError
from heimdex_clip.signing import parse_keys, sign_v1, sign_v2, verify_v1, verify_v2

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
VECTORS: list[dict[str, Any]] = json.loads(PROTOCOL.split("<!-- test vectors -->\n```json\n")[1].split("```")[0])

SECRET, URL, TS = "s3cret", "https://images.example/cat.jpg", 1_700_000_000
KEYS = {"default": SECRET}
PAYLOAD = '{"image_url":"u","aud":"e","exp":1700000600}'
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def check_v1(url: object = URL, now: float = TS, keys: dict[str, str] = KEYS, **auth: object) -> str:
    signed: dict[str, object] = {**sign_v1(URL, secret=SECRET, ts=TS), **auth}
    return verify_v1(str(url), signed, keys=keys, window_s=120, now=now)


def check_v2(payload: str = PAYLOAD, keys: dict[str, str] = KEYS, **auth: object) -> str:
    return verify_v2(payload, {**sign_v2(PAYLOAD, secret=SECRET), **auth}, keys=keys)


def v1_by_hand(text: str) -> str:
    """The MAC of any text, also of one that `sign_v1` would not make."""
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


# ---- vectors


@pytest.mark.parametrize("vector", [row for row in VECTORS if row["v"] == 1])
def test_v1_vectors_of_the_protocol(vector: dict[str, str]) -> None:
    auth = sign_v1(vector["image_url"], secret=vector["secret"], ts=int(vector["ts"]))
    assert auth == {"ts": vector["ts"], "sig": vector["sig"]}
    keys = {"k": vector["secret"]}
    assert verify_v1(vector["image_url"], auth, keys=keys, window_s=120, now=int(vector["ts"])) == "k"


@pytest.mark.parametrize("vector", [row for row in VECTORS if row["v"] == 2])
def test_v2_vectors_of_the_protocol(vector: dict[str, str]) -> None:
    auth = sign_v2(vector["payload"], secret=vector["secret"], kid="k")
    assert auth == {"v": 2, "kid": "k", "sig": vector["sig"]}
    assert verify_v2(vector["payload"], auth, keys={"k": vector["secret"]}) == "k"


def test_the_protocol_has_vectors_of_both_kinds() -> None:
    assert [row["v"] for row in VECTORS] == [1, 1, 1, 1, 2, 2, 2, 2]


def test_the_protocols_examples_are_signed_as_its_vectors_are() -> None:
    for block in re.findall(r"```json\n(\{.*?\})\n```", PROTOCOL, re.DOTALL):
        example = json.loads(block)
        if "auth" in example:
            assert example["auth"]["sig"] in {row["sig"] for row in VECTORS}


def test_the_protocols_openssl_commands_sign_as_we_do() -> None:
    (script,) = re.findall(r"```sh\n(# v1.*?)```", PROTOCOL, re.DOTALL)
    v1, v2 = script.split("# v2")
    environment = {**os.environ, "IMAGE_URL": URL + "?a|b", "EMBEDDING_HMAC_SECRET": SECRET, "ENDPOINT_ID": "ep"}

    def shell(commands: str, show: str) -> list[str]:
        command = ["sh", "-ec", f"{commands}\nprintf '%s\\n' {show}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.splitlines()

    ts, sig = shell(v1, '"$TS" "$SIG"')
    assert sign_v1(URL + "?a|b", secret=SECRET, ts=int(ts))["sig"] == sig
    payload, sig = shell(v2, '"$PAYLOAD" "$SIG"')
    assert sign_v2(payload, secret=SECRET)["sig"] == sig
    assert json.loads(payload)["aud"] == "ep"


# ---- v1: the time stamp


@pytest.mark.parametrize(
    "stamp",
    [
        "1_700_000_000",
        "1_7",
        "+1700000000",
        "-170000000",
        " 1700000000",
        "1700000000 ",
        "1700000000\n",
        "１７００００００００",  # full-width digits
        "١٧٠٠٠٠٠٠٠٠",  # Arabic digits
        "170000000",
        "17000000000",
        "1700000000.0",
        "1.7e9",
        "0x6553F100",
        "",
        None,
        True,
        1700000000.0,
        -1700000000,
        17_000_000_000,
        pytest.param(10**5000, id="huge"),
        [1700000000],
        b"1700000000",
    ],
)
def test_only_ten_ascii_digits_are_a_time(stamp: object) -> None:
    # Signed for real wherever it can be, so that only the form can refuse it.
    text = stamp if isinstance(stamp, str) else "1700000000"
    with pytest.raises(AuthFailed):
        check_v1(ts=stamp, sig=v1_by_hand(f"{URL}|{text}"))


def test_a_time_may_be_a_json_number() -> None:
    assert check_v1(ts=TS) == "default"


@pytest.mark.parametrize("ts", [0, 999_999_999, 10_000_000_000, -1])
def test_a_time_without_ten_digits_is_not_signed(ts: int) -> None:
    with pytest.raises(SettingsError, match="ten digits"):
        sign_v1(URL, secret=SECRET, ts=ts)


def test_the_time_is_now_by_default() -> None:
    assert re.fullmatch(r"\d{10}", sign_v1(URL, secret=SECRET)["ts"])


@pytest.mark.parametrize("age_s", [-120, -1, 0, 119.9, 120])
def test_inside_the_window(age_s: float) -> None:
    assert check_v1(now=TS + age_s) == "default"


def test_outside_the_window() -> None:
    with pytest.raises(AuthExpired, match="121 s old; at most 120 s"):
        check_v1(now=TS + 121)
    with pytest.raises(AuthFailed):
        check_v1(now=TS - 120.5)


def test_a_wrong_signature_is_not_called_expired() -> None:
    with pytest.raises(AuthFailed):
        check_v1(URL + "x", now=TS + 10_000)


def test_the_delimiter_is_not_ambiguous() -> None:
    # One message, two readings: "u|1700000000|1700000001" as (u|1700000000, 1700000001) only.
    auth = sign_v1(f"{URL}|{TS}", secret=SECRET, ts=TS + 1)
    assert verify_v1(f"{URL}|{TS}", auth, keys=KEYS, window_s=120, now=TS) == "default"
    with pytest.raises(AuthFailed):
        verify_v1(URL, {"ts": f"{TS}|{TS + 1}", "sig": auth["sig"]}, keys=KEYS, window_s=120, now=TS)


# ---- the signature


@pytest.mark.parametrize("check", [check_v1, check_v2])
@pytest.mark.parametrize(
    "damage",
    [
        lambda sig: sig[:-1],
        lambda sig: sig + "0",
        lambda sig: sig.upper(),
        lambda sig: sig + "\n",
        lambda sig: " " + sig,
        lambda sig: "0x" + sig,
        lambda sig: sig[:-1] + "é",
        lambda sig: sig[:-1] + "\ud800",
        lambda sig: "０" + sig[1:],
        lambda _sig: "",
        lambda _sig: None,
        lambda _sig: 0,
        lambda sig: [sig],
        lambda sig: sig.encode(),
    ],
)
def test_only_the_64_lower_case_hex_digits_pass(check: Any, damage: Any) -> None:
    signed = sign_v1(URL, secret=SECRET, ts=TS) if check is check_v1 else sign_v2(PAYLOAD, secret=SECRET)
    assert check(sig=signed["sig"]) == "default"
    with pytest.raises(AuthFailed):
        check(sig=damage(signed["sig"]))


@given(st.data())
def test_no_byte_of_a_v2_payload_can_change(data: st.DataObject) -> None:
    payload = data.draw(TEXT.filter(bool))
    auth = sign_v2(payload, secret=SECRET)
    at = data.draw(st.integers(0, len(payload) - 1))
    other = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda char: char != payload[at]))
    with pytest.raises(AuthFailed):
        verify_v2(payload[:at] + other + payload[at + 1 :], auth, keys=KEYS)


@given(TEXT, TEXT, st.integers(10**9, 10**10 - 1), st.integers(10**9, 10**10 - 1))
def test_a_v1_signature_is_of_one_url_at_one_time(url: str, other_url: str, ts: int, other_ts: int) -> None:
    auth = sign_v1(url, secret=SECRET, ts=ts)
    assert verify_v1(url, auth, keys=KEYS, window_s=1, now=ts) == "default"
    for changed_url, changed_ts in ((other_url, ts), (url, other_ts), (other_url, other_ts)):
        if (changed_url, changed_ts) != (url, ts):
            with pytest.raises(AuthFailed):
                verify_v1(changed_url, {**auth, "ts": str(changed_ts)}, keys=KEYS, window_s=1, now=changed_ts)


@given(TEXT, TEXT.filter(bool), TEXT.filter(bool))
def test_another_secret_never_fits(payload: str, secret: str, other: str) -> None:
    # HMAC pads a short key with zero bytes, so those at its end make no other key.
    if secret.rstrip("\0") != other.rstrip("\0"):
        with pytest.raises(AuthFailed):
            verify_v2(payload, sign_v2(payload, secret=secret), keys={"default": other})


def test_v1_and_v2_are_not_interchangeable() -> None:
    text = f"clip-embed/v2\n{URL}"
    with pytest.raises(AuthFailed):
        verify_v2(
            f"{URL}|{TS}", {"v": 2, "kid": "default", "sig": sign_v1(URL, secret=SECRET, ts=TS)["sig"]}, keys=KEYS
        )
    # A URL chosen to look like a v2 message is still followed by its time.
    sig = sign_v2(URL, secret=SECRET)["sig"]
    with pytest.raises(AuthFailed):
        verify_v1(text, {"ts": str(TS), "sig": sig}, keys=KEYS, window_s=120, now=TS)


# ---- v2: version and kid


@pytest.mark.parametrize("version", [1, "2", None, True, [2]])
def test_v2_must_say_so(version: object) -> None:
    with pytest.raises(AuthFailed):
        check_v2(v=version)


@pytest.mark.parametrize("kid", ["other", "", None, 1, ["default"], {"default": 1}])
def test_an_unknown_kid_fails(kid: object) -> None:
    with pytest.raises(AuthFailed):
        check_v2(kid=kid)


def test_a_kid_chooses_its_own_key_only() -> None:
    with pytest.raises(AuthFailed):
        check_v2(kid="next", keys={"default": SECRET, "next": "another"})


@pytest.mark.parametrize("kid", ["", "a b", "ä", "x" * 65, "a,b", "a:b", "a\n"])
def test_a_kid_that_could_not_be_configured_is_not_signed_with(kid: str) -> None:
    with pytest.raises(SettingsError, match="kid"):
        sign_v2(PAYLOAD, secret=SECRET, kid=kid)


# ---- rotation and configuration


def test_a_secret_is_rotated_without_a_gap() -> None:
    old, both, new = {"2023": SECRET}, {"2023": SECRET, "2024": "new"}, {"2024": "new"}
    assert check_v1(keys=old) == check_v1(keys=both) == "2023"
    signed = sign_v1(URL, secret="new", ts=TS)
    assert check_v1(keys=both, sig=signed["sig"]) == check_v1(keys=new, sig=signed["sig"]) == "2024"
    with pytest.raises(AuthFailed):
        check_v1(keys=new)


def test_no_keys_verify_nothing() -> None:
    with pytest.raises(AuthFailed):
        check_v1(keys={})
    with pytest.raises(AuthFailed):
        check_v2(keys={})


def test_keys_are_read_in_both_ways() -> None:
    assert parse_keys("", "") == {}
    assert parse_keys("", "one") == {"default": "one"}
    assert parse_keys(" a:1 , b:2:3,, ", "") == {"a": "1", "b": "2:3"}
    assert parse_keys("a:1", "one") == {"a": "1", "default": "one"}
    assert parse_keys("default:one", "one") == {"default": "one"}


@pytest.mark.parametrize(
    ("secrets", "single"),
    [
        ("never-show", ""),
        (":never-show", ""),
        ("a:", ""),
        ("a b:never-show", ""),
        ("a:never-show,a:never-show2", ""),
        ("default:never-show", "never-show2"),
        ("", "never-show-\udcff"),
        ("a:never-show-\udcff", ""),
    ],
)
def test_a_bad_configuration_is_told_without_its_secrets(secrets: str, single: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_keys(secrets, single)
    assert "EMBEDDING" in raised.value.message or "UTF-8" in raised.value.message
    assert "never" not in raised.value.message


@pytest.mark.parametrize("secret", ["", "\udcff"])
def test_a_secret_that_cannot_sign_says_how_to_make_one(secret: str) -> None:
    for sign in (lambda: sign_v1(URL, secret=secret), lambda: sign_v2(PAYLOAD, secret=secret)):
        with pytest.raises(SettingsError, match="openssl rand -hex 32"):
            sign()


def test_what_has_no_bytes_is_neither_signed_nor_verified() -> None:
    for sign in (lambda: sign_v1("\ud800", secret=SECRET), lambda: sign_v2("\ud800", secret=SECRET)):
        with pytest.raises(InvalidRequest, match="surrogate"):
            sign()
    with pytest.raises(AuthFailed):
        check_v1("\ud800")
    with pytest.raises(AuthFailed):
        check_v2("\ud800")
