"""Addresses as programs write them: comments and space inside, literals, missing commas, empty groups, odd names."""

import time
from email.header import Header

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.mail.content.headers.addresses import parse_addresses
from services.mail.providers.gmail.payload import parse_gmail
from tests.support.mail.samples import parse, parse_as_gmail, raw

PROPERTY = settings(max_examples=300)


def pairs(value: str) -> list[tuple[str, str]]:
    """Names and addresses that a header value gives."""
    return [(address.name, address.email) for address in parse_addresses(value)]


class TestEmptyLists:
    """Comments and empty groups name no mailbox (RFC 5322 sections 3.2.2 and 3.4)."""

    @pytest.mark.parametrize(
        "value",
        [
            "undisclosed-recipients:;",
            "undisclosed-recipients:;@mx.example.com",
            '"undisclosed-recipients:;"@mx.example.com',
            "<undisclosed-recipients:;@mx.example.com>",
            "Undisclosed-Recipient:@mail.example.com;",
            "undisclosed-recipients@mx.example.com:;",
            "recipient list not shown: ;",
            "(no To-header on input)",
            "unlisted-recipients:; (no To-header on input)",
            "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
            "(nobody), (nobody else)",
            "@mx.example.com",
            ", ;",
        ],
    )
    def test_they_give_no_address(self, value: str) -> None:
        assert pairs(value) == []

    def test_mailboxes_beside_them_are_kept(self) -> None:
        value = "undisclosed-recipients:;@mx.example.com, Ann <ann@example.com>, (nobody), Bob <bob@example.com>"
        assert pairs(value) == [("Ann", "ann@example.com"), ("Bob", "bob@example.com")]


class TestAddresses:
    """Where an address stands and what belongs to it."""

    @pytest.mark.parametrize(
        ("value", "email"),
        [
            ("Ann <ann(home)@example.com(work)>", "ann@example.com"),
            ("Ann <ann@(the (old) host)example.com>", "ann@example.com"),
            ("Ann < ann . lee @ example . com >", "ann.lee@example.com"),
            ("Ann <ann@[IPv6:2001:db8::1]>", "ann@[IPv6:2001:db8::1]"),
            ("Ann <ann@[192.0.2.1]>", "ann@[192.0.2.1]"),
            ("Ann <@relay.example,@other.example:ann@example.com>", "ann@example.com"),
            ('Ann <"ann lee"@example.com>', '"ann lee"@example.com'),
            ("Ann <mailto:ann@example.com>", "ann@example.com"),
            ("Ann [mailto:ann@example.com]", "ann@example.com"),
            ("Ann <<ann@example.com>>", "ann@example.com"),
            ("Ann <ann@example.com", "ann@example.com"),
        ],
    )
    def test_with_a_name_in_front(self, value: str, email: str) -> None:
        assert pairs(value) == [("Ann", email)]

    @pytest.mark.parametrize(
        ("value", "email"),
        [
            ("ann . lee @ example . com", "ann.lee@example.com"),
            ("ann.lee@example. com", "ann.lee@example.com"),
            ("ann@[IPv6:2001:db8::1]", "ann@[IPv6:2001:db8::1]"),
            ("'ann@example.com'", "ann@example.com"),
            ('"ann@example.com"', "ann@example.com"),
            ('ann"@example.com', 'ann"@example.com'),
            ("ann@b@example.com", "ann@b@example.com"),
        ],
    )
    def test_alone(self, value: str, email: str) -> None:
        assert pairs(value) == [("", email)]

    @pytest.mark.parametrize(
        "value",
        [
            "<ann@example.com> (Ann Lee)",
            "<ann@example.com> Ann Lee",
            '<ann@example.com> "Ann Lee"',
            "ann@example.com (Ann Lee)",
            "ann(home)@example.com (Ann Lee)",
            "ann@example.com Ann Lee",
            "Ann Lee ann@example.com",
            "'Ann Lee' <ann@example.com> (home)",
        ],
    )
    def test_with_the_name_wherever_it_stands(self, value: str) -> None:
        assert pairs(value) == [("Ann Lee", "ann@example.com")]

    @pytest.mark.parametrize(
        ("value", "names"),
        [
            ("Ann <a@example.com> Bob <b@example.com>", ("Ann", "Bob")),
            ("Ann <a@example.com> (home) Bob <b@example.com>", ("Ann", "Bob")),
            ("<a@example.com> (Ann) <b@example.com> (Bob)", ("Ann", "Bob")),
            ("Ann <a@example.com> b@example.com", ("Ann", "")),
            ("Ann a@example.com Bob b@example.com", ("Ann", "Bob")),
            ("<a@example.com, b@example.com>", ("", "")),
            ("<a@example.com; b@example.com>", ("", "")),
            ("<a@example.com b@example.com>", ("", "")),
            ("a@example.com b@example.com", ("", "")),
        ],
    )
    def test_two_without_a_comma_between(self, value: str, names: tuple[str, str]) -> None:
        assert pairs(value) == [(names[0], "a@example.com"), (names[1], "b@example.com")]

    def test_the_examples_of_rfc_5322(self) -> None:
        value = """Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>,
            A Group(Some people):Chris Jones <c@(Chris's host.)public.example>, joe@example.org,
            John <jdoe@one.test> (my dear friend); (the end of the group)"""
        assert pairs(" ".join(value.split())) == [
            ("Pete(A nice \\) chap)", "pete@silly.test"),
            ("Chris Jones", "c@public.example"),
            ("", "joe@example.org"),
            ("John", "jdoe@one.test"),
        ]
        assert pairs("Joe Q. Public <john . q . public @ example . com>, , jdoe@test  . example") == [
            ("Joe Q. Public", "john.q.public@example.com"),
            ("", "jdoe@test.example"),
        ]

    _SPACE = st.sampled_from(["", "", " ", "(c)", " (a (b) \\) @c, <d>;: ) "])

    @PROPERTY
    @given(local=st.lists(_SPACE, min_size=6, max_size=6), domain=st.lists(_SPACE, min_size=6, max_size=6))
    def test_comments_and_space_between_any_tokens(self, local: list[str], domain: list[str]) -> None:
        tokens = ["ann", ".", "lee", "@", "example", ".", "com"]
        inside = "".join(token + space for token, space in zip(tokens, [*local, ""], strict=True))
        behind = "".join(token + space for token, space in zip(tokens, [*domain, ""], strict=True))
        assert pairs(f"Ann <{inside}>, Bob <{behind}>") == [
            ("Ann", "ann.lee@example.com"),
            ("Bob", "ann.lee@example.com"),
        ]

    @PROPERTY
    @given(
        people=st.lists(
            st.tuples(
                st.from_regex(r"[A-Z][a-zё漢]{0,6}( [A-Z][a-z]{0,5})?", fullmatch=True),
                st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,4})?@[a-z]{1,6}\.(com|example)", fullmatch=True),
            ),
            min_size=1,
            max_size=5,
        ),
        form=st.sampled_from(["{} <{}>", '"{}" <{}>', "{} <{}> (c)", "<{1}> ({0})", "{1} ({0})", "<{1}> {0}"]),
        separator=st.sampled_from([", ", ",", "; ", ",, ", ", (c), "]),
        group=st.sampled_from(["{}", "Team: {};", "Team:{}; , ", "{}, undisclosed-recipients:;"]),
    )
    def test_any_list_gives_its_people(
        self, people: list[tuple[str, str]], form: str, separator: str, group: str
    ) -> None:
        value = group.format(separator.join(form.format(*person) for person in people))
        assert pairs(value) == people


class TestNamesThatLookLikeGroups:
    """A colon or semicolon in an encoded word is part of a name, in raw bytes and where the provider decoded it."""

    @pytest.mark.parametrize(
        "name", ["Re: Ann", "Ann; Sales", "News: today; weather", "10:30", "Team: Ann, Bob", "a:b:c", "x;y;z", "=;:"]
    )
    def test_it_is_the_name_in_both_formats(self, name: str) -> None:
        data = raw(f"From: {Header(name, 'utf-8').encode()} <ann@example.com>")
        for message in (parse(data.removesuffix(b"\n\n")), parse_as_gmail(data)):
            assert [(each.name, each.email) for each in message.authors] == [(name, "ann@example.com")]

    def test_several_in_one_header(self) -> None:
        assert pairs("=?utf-8?q?Team=3A_Ann?= <a@example.com>, =?utf-8?q?x=3B_y?= <b@example.com>") == [
            ("Team: Ann", "a@example.com"),
            ("x; y", "b@example.com"),
        ]
        assert pairs("Team: Ann <a@example.com>, 10:30 <b@example.com>") == [
            ("Team: Ann", "a@example.com"),
            ("10:30", "b@example.com"),
        ]

    @pytest.mark.parametrize("value", ["Team: a@example.com, b@example.com;", "Team: a@example.com, b@example.com"])
    def test_groups_are_still_groups(self, value: str) -> None:
        assert pairs(value) == [("", "a@example.com"), ("", "b@example.com")]

    @PROPERTY
    @given(name=st.text(alphabet="abё 漢:;,.-!?", max_size=20).map(lambda text: " ".join(("a" + text).split())))
    @example(name="a:b;")
    def test_any_encoded_name_is_a_name(self, name: str) -> None:
        word = Header(name, "utf-8", maxlinelen=900).encode()
        assert pairs(f"{word} <ann@example.com>, Bob <bob@example.com>") == [
            (name, "ann@example.com"),
            ("Bob", "bob@example.com"),
        ]

    @PROPERTY
    @given(name=st.from_regex(r"[a-zё]{1,4}([:;] ?[a-zё]{1,4}){0,3}", fullmatch=True))
    def test_a_decoded_name_with_colons_and_semicolons_is_one(self, name: str) -> None:
        message = parse_gmail({"payload": {"headers": [{"name": "From", "value": f"{name} <ann@example.com>"}]}})
        assert [(each.name, each.email) for each in message.authors] == [(name, "ann@example.com")]


class TestEffort:
    """Hostile headers take linear time."""

    @pytest.mark.parametrize(
        "piece", ["a:", ":;", ";", "[", "a@b:", "<a@b>", "<a@b> ", ":@", "a .", " @ ", "(a)", "<a@b,", '"a"@', "x:y;"]
    )
    def test_of_any_piece_repeated(self, piece: str) -> None:
        started = time.process_time()
        parse_addresses(piece * (200_000 // len(piece)))
        assert time.process_time() - started < 5
