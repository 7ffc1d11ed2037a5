"""Commands: no argument can end one or start another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.providers.imap.client.commands import Argument, atom, command, group, sequence, string
from services.mail.providers.imap.client.errors import UnsafeArgumentError
from services.mail.providers.imap.client.frames import Frame
from services.mail.providers.imap.client.values import values_of


class TestString:
    @given(value=st.binary(max_size=50))
    def test_is_one_value_or_refused(self, value: bytes) -> None:
        try:
            argument = string(value)
        except UnsafeArgumentError:
            assert set(value) & set(b"\r\n\0")
            return
        assert not set(argument.value) & set(b"\r\n\0")
        if not argument.is_literal:
            assert argument.value.isascii()
            assert values_of(Frame((argument.value,))) == [value]

    @pytest.mark.parametrize("value", [b"a\r\nA2 DELETE x", b"a\nb", b"a\rb", b"a\0"])
    def test_refuses_an_injection(self, value: bytes) -> None:
        with pytest.raises(UnsafeArgumentError):
            string(value)


@pytest.mark.parametrize("text", ["a b", 'a"', "a\r\n", "", "a(b", "{3}", "a*", "%"])
def test_atom_refuses_what_is_none(text: str) -> None:
    with pytest.raises(UnsafeArgumentError):
        atom(text)


@pytest.mark.parametrize("text", ["1 2", "", "1:*", "1\r\n"])
def test_sequence_refuses_what_is_none(text: str) -> None:
    with pytest.raises(UnsafeArgumentError):
        sequence(text)


def test_group_refuses_literals() -> None:
    with pytest.raises(UnsafeArgumentError):
        group([string(b"\xff")])


def test_command_waits_before_literals() -> None:
    built = command("STATUS", string("ü".encode()), group([atom("UIDNEXT")]))
    assert built.parts == (b"STATUS {2}", "ü".encode() + b" (UIDNEXT)")
    assert command("SELECT", Argument(b"x")).parts == (b"SELECT x",)
