"""Strategies that spoil what is valid: bytes, and the values of a JSON or TOML document."""

import copy
import json

from hypothesis import strategies as st
from safetensors.torch import save

from dpq.files.checkpoint import _digest

DEEP = "\x00deep\x00"  # stands for a nesting that no library would write

VALUES = (
    *(None, True, False, "", "x", "..", "../x", "/etc/passwd", "a\nb", "\ud800", "1", "nan", DEEP, "y" * 5000),
    *(0, 1, -1, 2, 255, 256, 2**31, 2**63, 2**64, 10**40, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1.5, -1.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [None], [0], [1, 2], [0.5, 0.25], ["x"], {"x": 1}, {"": None}, {"10": 0.5}),
)
ODD = st.one_of(
    st.sampled_from(VALUES).map(copy.deepcopy),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()), max_size=5),
)


@st.composite
def damaged(draw, valid, tokens=(b"\0", b"\xff", b"\n", b"-1", b"9" * 20, b"\r", b"\x80")):
    """The bytes `valid` after a few changes; now and then bytes that have nothing to do with them."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["flip", "set", "cut", "drop", "repeat", "insert", "replace"]))
        if kind == "cut":
            del content[at:]
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 600))]
        elif kind == "insert":
            content[at:at] = draw(st.one_of(st.sampled_from(tokens), st.binary(max_size=8)))
        elif kind == "replace":
            token = draw(st.sampled_from(tokens))
            content[at : at + len(token)] = token
        elif at < len(content):
            content[at] = content[at] ^ (1 << draw(st.integers(0, 7))) if kind == "flip" else draw(st.integers(0, 255))
    return bytes(content)


@st.composite
def changed(draw, document):
    """A copy of a document of tables and lists in which a few values are others, gone or more."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while True:
            if not isinstance(place, dict | list) or not place:
                break
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = keys[draw(st.integers(0, len(keys) - 1))]
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            kind = draw(st.sampled_from(["set", "set", "near", "drop", "add", "copy"]))
            if kind == "near" and type(inner) in (int, float):
                near = draw(st.sampled_from([inner + 1, inner - 1, -inner, inner * 2, str(inner), 0.5]))
                place[key] = float(inner) if near == 0.5 and abs(inner) < 2**53 else near
            elif kind == "drop":
                del place[key]
            elif kind == "copy":
                place[key] = copy.deepcopy(draw(st.sampled_from([place[k] for k in keys])))
            elif kind == "add" and isinstance(place, dict):
                place[draw(st.text(max_size=5))] = draw(ODD)
            elif kind == "add":
                place.append(copy.deepcopy(inner))
            else:
                place[key] = draw(ODD)
            break
    return document


@st.composite
def json_texts(draw, document):
    """Bytes of a JSON document that was changed, or of one that was damaged."""
    if draw(st.integers(0, 4)) == 0:
        return draw(
            damaged(json.dumps(document).encode(), (b"{", b"[", b'"', b"NaN", b"1e999", b"\\ud800", b",", b"\0"))
        )
    value = draw(changed(document))
    if draw(st.integers(0, 49)) == 0:
        value = draw(ODD)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    text = text.replace(json.dumps(DEEP), "[" * 5000 + "]" * 5000)
    if isinstance(value, dict) and value and draw(st.integers(0, 9)) == 0:  # a key that stands twice
        text = f"{{{json.dumps(draw(st.sampled_from(list(value))))}: 1, {text[1:]}"
    return text.encode("utf-8", "surrogatepass")


def checked(tensors, state):
    """A safetensors file of tensors and the text of a state, whose check sum is right whatever they are."""
    return save(dict(tensors), {"state": state, "sha256": _digest(tensors, state)})
