"""Values in responses: parsed lists, strings and atoms, also odd ones, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.imap.client.errors import MalformedResponseError
from services.mail.providers.imap.client.frames import Frame
from services.mail.providers.imap.client.responses import Continuation, Data, Status, response_of
from services.mail.providers.imap.client.values import Value, number_of, pairs_of, values_of

_ATOMS = st.sampled_from(
    [b"UID", b"\\Seen", b"$Forwarded", b"BODY[HEADER.FIELDS (DATE FROM)]<0>", b"12", b"[Mail]/Sent"]
)
_STRINGS = st.binary(max_size=20)
_VALUES: st.SearchStrategy[Value] = st.recursive(
    st.one_of(st.none(), _ATOMS, _STRINGS), lambda inner: st.lists(inner, max_size=4), max_leaves=20
)


def written(value: Value, texts: list[bytes], literals: list[bytes]) -> None:
    """Append a value as a server may write it: strings as literals where they have to be."""
    if value is None:
        texts[-1] += b"NIL"
    elif isinstance(value, list):
        texts[-1] += b"("
        for place, inner in enumerate(value):
            texts[-1] += b" " if place else b""
            written(inner, texts, literals)
        texts[-1] += b")"
    else:
        assert isinstance(value, bytes)
        if value in (b"UID", b"\\Seen", b"$Forwarded", b"12", b"[Mail]/Sent") or value.startswith(b"BODY["):
            texts[-1] += value
        elif b"\n" in value or b"\r" in value or b"\0" in value or len(value) % 2:
            literals.append(value)
            texts.append(b"")
        else:
            texts[-1] += b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


class TestValuesOf:
    @given(values=st.lists(_VALUES, max_size=5))
    def test_are_those_that_were_written(self, values: list[Value]) -> None:
        texts, literals = [b""], list[bytes]()
        for place, value in enumerate(values):
            texts[-1] += b" " if place else b""
            written(value, texts, literals)
        assert values_of(Frame(tuple(texts), tuple(literals))) == values

    @given(data=st.binary(max_size=200))
    def test_of_any_bytes_are_values_or_an_error(self, data: bytes) -> None:
        try:
            values_of(Frame((data,)))
        except MalformedResponseError:
            return

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            (b'NIL "" nil "NIL"', [None, b"", None, b"NIL"]),
            (b'(a (b) ()) "c \\" \\\\"', [[b"a", [b"b"], []], b'c " \\']),
            (b"BODY[HEADER.FIELDS (TO)] {", [b"BODY[HEADER.FIELDS (TO)]", b"{"]),
            (b"[half", [b"[half"]),
        ],
    )
    def test_distinguish_what_looks_alike(self, text: bytes, values: list[Value]) -> None:
        assert values_of(Frame((text,))) == values

    @pytest.mark.parametrize("text", [b"(a", b"a)", b'"a', b"(" * 300 + b")" * 300])
    def test_of_a_broken_response_are_an_error(self, text: bytes) -> None:
        with pytest.raises(MalformedResponseError):
            values_of(Frame((text,)))

    @pytest.mark.parametrize("unit", [b"[", b"[a", b'"', b"\\", b'\\"', b"("])
    def test_take_linear_time(self, unit: bytes) -> None:
        began = time.process_time()
        for text in (unit * 200_000, b'"' + unit * 200_000):
            try:
                values_of(Frame((text,)))
            except MalformedResponseError:
                continue
        assert time.process_time() - began < 2


class TestNumberOf:
    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (b"12", 12),
            (b"9.3736e+06", 9_373_600),
            (None, None),
            (b"", None),
            (b"-1", None),
            (b"x", None),
            (b"inf", None),
            (b"nan", None),
            (b"1" * 21, None),
            ([], None),
        ],
    )
    def test_is_lenient(self, value: Value, number: int | None) -> None:
        assert number_of(value) == number


class TestPairsOf:
    def test_takes_the_last_of_two(self) -> None:
        assert pairs_of([b"uid", b"1", b"UID", b"2"]) == {"UID": b"2"}

    @pytest.mark.parametrize("value", [None, b"a", [[b"a"], b"b"]])
    def test_refuses_what_has_no_names(self, value: Value) -> None:
        with pytest.raises(MalformedResponseError):
            pairs_of(value)


class TestResponseOf:
    def test_reads_a_status_with_a_code(self) -> None:
        assert response_of(Frame((b"A1 no [AUTHENTICATIONFAILED] AUTHENTICATE invalid sc=1",))) == Status(
            tag=b"A1", kind="NO", code="AUTHENTICATIONFAILED", text="AUTHENTICATE invalid sc=1"
        )
        assert response_of(Frame((b"* OK [UIDNEXT 1621] Ok",))) == Status(
            tag=b"*", kind="OK", code="UIDNEXT", argument=b"1621", text="Ok"
        )

    @pytest.mark.parametrize("text", [b"A1 OK", b"A1 OK done", b"* BYE", b"* OK [ALERT", b"* PREAUTH hello"])
    def test_reads_a_status_without_one(self, text: bytes) -> None:
        status = response_of(Frame((text,)))
        assert isinstance(status, Status)
        assert status.code == ""

    def test_reads_data(self) -> None:
        data = response_of(Frame((b"* 12 fetch (UID 4)",)))
        assert isinstance(data, Data)
        assert (data.name, data.number, data.values()) == ("FETCH", 12, [[b"UID", b"4"]])

    def test_reads_a_continuation(self) -> None:
        assert response_of(Frame((b"+ eyJ9",))) == Continuation(b"eyJ9")
        assert response_of(Frame((b"+",))) == Continuation(b"")

    @pytest.mark.parametrize("text", [b"", b"*", b"???", b"A1 WHAT"])
    def test_refuses_what_is_none(self, text: bytes) -> None:
        with pytest.raises(MalformedResponseError):
            response_of(Frame((text,)))
