from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

import defusedxml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_readiness.evidence.documents import excerpt, iter_items, parse_json, parse_xml
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.verdict import Reason

REFUSED = (ET.ParseError, defusedxml.DefusedXmlException, ValueError, LookupError)
DOCTYPE = '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">'


def items(data: bytes | str, *kinds: str) -> list[dict[str, object]]:
    return list(iter_items(data if isinstance(data, bytes) else data.encode(), "pods.json", kinds))


def refused(data: bytes | str, *kinds: str) -> Unmeasured:
    with pytest.raises(Unmeasured) as raised:
        items(data, *kinds)
    assert "pods.json" in raised.value.message
    assert len(raised.value.message) < 500
    return raised.value


# --- JSON ------------------------------------------------------------------------------------------------------------

POD = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n"}}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"kind": "List", "items": [POD, POD]}, ["p", "p"]),
        ({"apiVersion": "v1", "items": [POD], "kind": "List", "metadata": {"resourceVersion": ""}}, ["p"]),
        ({"kind": "PodList", "metadata": {}, "items": [{"metadata": {"name": "q"}}]}, ["q"]),
        ({"items": []}, []),
        ({"kind": "PodList", "items": None, "metadata": {}}, []),  # an empty slice, as Go writes it
        (POD, ["p"]),
    ],
)
def test_a_list_or_one_object(document: object, names: list[str]) -> None:
    assert [each["metadata"]["name"] for each in items(json.dumps(document), "Pod")] == names  # type: ignore[index]
    assert [each["metadata"]["name"] for each in items(json.dumps(document, indent=4), "Pod")] == names  # type: ignore[index]


def test_a_byte_order_mark_and_blanks_around_are_legal() -> None:
    assert items(b"\xef\xbb\xbf \n\t" + json.dumps({"items": [POD]}).encode() + b" \r\n") == [POD]


@pytest.mark.parametrize("data", ["", " \n\t "])
def test_an_empty_file_is_missing(data: str) -> None:
    assert refused(data).reason is Reason.MISSING


@pytest.mark.parametrize(
    "data",
    [
        *("null", "true", "[]", "1", '"items"', "{", "}", "{}", '{"items"}', '{"items":}', '{"items":[}'),
        '{"items":[{}',
        *('{"items":[]', '{"items":[] "kind":"List"}', '{"items":[{}{}]}', '{"items":[,]}', '{"items":[{},]}'),
        *('{"items":[]}{"items":[]}', '{"items":[]} trailing', '{"items":[],}', '{,"items":[]}'),
        *('{"items":[1]}', '{"items":[null]}', '{"items":[[]]}', '{"items":["a"]}'),
        *('{"items":[],"items":[]}', '{"items":[{"a":NaN}]}', '{"items":[{"a":Infinity}]}'),
        '{"items":[{"a":-Infinity}]}',
        *('{"items":{}}', '{"items":1}', '{"items":"x"}', '{"metadata":{},"items":{"a":1}}'),
        '{"metadata":{"name":"n"},"items":1}',
        *('{"metadata":{}}', '{"metadata":null}', '{"metadata":{"name":""}}', '{"metadata":1}', '{"kind":"List"}'),
        *("{'items':[]}", "{items:[]}", '{[1]:2}', "{{}:1}", '{1:2,"metadata":{"name":"n"}}', "{null:1}"),
        *('{"items":[{"a":"\x01"}]}', '{"items":[{"a":"\\x41"}]}', '{"items":[{"a":01}]}', '{"a":' + "9" * 5000 + "}"),
        *("<html><body>502</body></html>", "Error from server (Forbidden): pods is forbidden", "No resources found"),
        b"\xff\xfe" + '{"items":[]}'.encode("utf-16-le"),
        '{"items":[]}'.encode("utf-16-be"),
        b'{"items":[{"a":"\xff"}]}',
        b"\x1f\x8b\x08\x00",
        b"\0",
    ],
)  # fmt: skip
def test_what_is_no_list_was_not_measured(data: bytes | str) -> None:
    assert refused(data).reason is Reason.UNPARSABLE


@pytest.mark.parametrize("cut", range(1, len(json.dumps({"kind": "List", "items": [POD]}))))
def test_a_list_that_is_cut_anywhere_was_not_measured(cut: int) -> None:
    assert refused(json.dumps({"kind": "List", "items": [POD]})[:cut]).reason is Reason.UNPARSABLE


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "List", "items": [{**POD, "kind": "Node"}]},
        {"kind": "List", "items": [POD, {**POD, "kind": "Node"}]},
        {"kind": "NodeList", "items": []},
        {"items": [{"metadata": {"name": "n"}}], "kind": "NodeList"},
        {**POD, "kind": "Node"},
    ],
)
def test_a_file_in_the_place_of_another_is_no_empty_list(document: object) -> None:
    assert refused(json.dumps(document), "Pod").reason is Reason.UNPARSABLE
    assert items(json.dumps(document)) is not None


@pytest.mark.parametrize(
    ("code", "reason"),
    [(403, "denied"), (401, "denied"), (404, "missing"), (504, "timeout"), (500, "unparsable"), ("403", "unparsable")],
)
def test_a_refusal_of_the_api_server_is_no_object(code: object, reason: str) -> None:
    status = {"kind": "Status", "metadata": {}, "status": "Failure", "message": "pods is forbidden", "code": code}
    found = refused(json.dumps(status), "Pod")
    assert found.reason == reason
    assert "pods is forbidden" in found.message


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"items":[', '{"items":[{"a":', '{"items":[{"a":['])
def test_deep_nesting_is_refused_quickly(opening: str) -> None:
    started = time.monotonic()
    for data in (opening * 100_000, opening + "[" * 100_000 + "]" * 100_000):
        assert refused(data).reason is Reason.UNPARSABLE
        with pytest.raises(Unmeasured):
            parse_json(data.encode(), "probe.json")
    assert time.monotonic() - started < 2


def test_items_are_read_one_by_one() -> None:
    stream = iter_items(json.dumps({"items": [POD, POD]}).encode()[:-2] + b", broken", "pods.json")
    assert next(stream) == POD
    assert next(stream) == POD
    with pytest.raises(Unmeasured):
        next(stream)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_know_is_no_number(word: str) -> None:
    with pytest.raises(Unmeasured, match=word):
        parse_json(f'{{"a": {word}}}'.encode(), "probe.json")


@given(st.binary(max_size=100))
def test_no_bytes_break_the_json_readers(data: bytes) -> None:
    for read in (lambda: items(data), lambda: parse_json(data, "x.json")):
        with suppress(Unmeasured):
            read()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=4), max_size=4), st.booleans())
def test_items_are_what_a_whole_parser_reads(objects: list[dict[str, object]], indented: bool) -> None:
    text = json.dumps({"kind": "List", "items": objects, "metadata": {}}, indent=2 if indented else None)
    assert items(text) == objects


# --- XML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "<a>x</a>",
        '<?xml version="1.0" ?>\n<a>x</a>',
        f'<?xml version="1.0" encoding="UTF-8"?>\n{DOCTYPE}\n<a>x</a>',
        f"{DOCTYPE}<a>x</a>",
        '<!DOCTYPE a PUBLIC "-//X//Y" "http://nowhere.invalid/a.dtd"><a>x</a>',
        "<!-- a comment --><a>x</a>",
        "<a><![CDATA[x]]></a>",
        "<a>&#120;</a>",
        b"\xef\xbb\xbf<a>x</a>",
        '<?xml version="1.0" encoding="utf-16"?><a>x</a>'.encode("utf-16"),
        '<?xml version="1.0" encoding="latin-1"?><a>x</a>',
    ],
)
def test_legal_documents(data: bytes | str) -> None:
    assert parse_xml(data if isinstance(data, bytes) else data.encode()).text == "x"


ENTITY = '<!DOCTYPE a [<!ENTITY e "boom">]><a>&e;</a>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY e SYSTEM "file://{}">]><a>&e;</a>'
PARAMETER = '<!DOCTYPE a [<!ENTITY % e SYSTEM "file://{}"> %e;]><a/>'
LAUGHS = (
    '<!DOCTYPE a [<!ENTITY l0 "ha">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    + "]><a>&l11;</a>"
)
BLOWUP = f'<!DOCTYPE a [<!ENTITY e "{"x" * 100_000}">]><a>{"&e;" * 10_000}</a>'


@pytest.mark.parametrize(
    "data", [ENTITY, EXTERNAL, PARAMETER, LAUGHS, BLOWUP], ids=["entity", "external", "parameter", "laughs", "blowup"]
)
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-7", "cp037", "cp500", "latin-1", "utf-8-sig"],
)
@pytest.mark.parametrize("declared", [True, False])
def test_entities_are_refused_in_every_encoding(data: str, encoding: str, declared: bool, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("very secret")
    head = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' if declared else ""
    started = time.monotonic()
    with pytest.raises(REFUSED) as raised:
        parse_xml((head + data.replace("{}", str(secret))).encode(encoding))
    assert time.monotonic() - started < 2
    assert "secret" not in str(raised.value).replace(str(secret), "")


@pytest.mark.parametrize("encoding", ["utf-7", "cp037", "cp1026", "utf-16", "hz", "idna", "rot13", "no-such-encoding"])
@pytest.mark.parametrize(
    "entity",
    [
        ENTITY,
        "+ADw-!DOCTYPE a +AFs-+ADw-!ENTITY e +ACI-boom+ACI-+AD4-+AF0-+AD4-+ADw-a+AD4-+ACY-e+ADs-+ADw-/a+AD4-",
    ],
)
def test_an_encoding_that_is_declared_and_not_used_hides_nothing(encoding: str, entity: str) -> None:
    with pytest.raises(REFUSED):
        parse_xml(f'<?xml version="1.0" encoding="{encoding}"?>{entity}'.encode())


@pytest.mark.parametrize("padding", [" " * 1000, "\n" * 5000, f"<!--{'x' * 1000}-->"])
@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_padding_hides_no_entity(padding: str, place: str) -> None:
    data = {
        "before": padding + ENTITY,
        "inside": ENTITY.replace("a [", f"a {padding if '<' not in padding else ' '}["),
        "after": ENTITY.replace("[<", f"[{padding}<"),
    }[place]
    with pytest.raises(REFUSED):
        parse_xml(data.encode())


def test_nothing_is_fetched_for_a_doctype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **_: opened.append(args))
    dtd = tmp_path / "a.dtd"
    dtd.write_text('<!ENTITY e "boom">')
    for said in (f'SYSTEM "{dtd}"', f'SYSTEM "file://{dtd}"', f'PUBLIC "x" "{dtd}"'):
        assert parse_xml(f"<!DOCTYPE a {said}><a>x</a>".encode()).text == "x"
        with pytest.raises(REFUSED):
            parse_xml(f"<!DOCTYPE a {said}><a>&e;</a>".encode())
    assert not opened


def test_a_deep_document_is_quick() -> None:
    started = time.monotonic()
    root = parse_xml(b"<a>" * 100_000 + b"</a>" * 100_000)
    assert root.tag == "a"
    del root
    with pytest.raises(ET.ParseError):
        parse_xml(b"<a>" * 100_000)
    assert time.monotonic() - started < 2


@given(st.binary(max_size=100))
def test_no_bytes_break_the_xml_reader(data: bytes) -> None:
    with suppress(*REFUSED):
        parse_xml(data)


@given(st.binary(max_size=200), st.integers(1, 80))
def test_an_excerpt_is_short_and_printable(data: bytes, limit: int) -> None:
    assert excerpt(data, limit).isprintable()
    assert len(excerpt(data, limit)) <= 10 * limit + 2
