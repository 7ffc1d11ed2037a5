"""Responses that clients do not take, bounded in bytes."""

from dataclasses import dataclass, field

from services.kit.http.unread import UnreadResponses


@dataclass(eq=False)
class Client:
    """A connection with bytes that its client has not taken."""

    size: int
    is_dropped: bool = False

    def unread(self) -> int:
        return self.size

    def drop(self) -> None:
        self.is_dropped = True


@dataclass
class Server:
    """Responses of at most 100 bytes, and the clients that wait for them."""

    responses: UnreadResponses = field(default_factory=lambda: UnreadResponses(100))

    def hold(self, size: int, address: str = "a") -> Client:
        client = Client(size)
        self.responses.hold(client, address)
        return client


class TestHold:
    def test_keeps_what_fits(self) -> None:
        server = Server()
        clients = [server.hold(50), server.hold(50)]
        assert [client.is_dropped for client in clients] == [False, False]
        assert server.responses.total == 100

    def test_drops_the_one_that_has_taken_nothing_for_longest(self) -> None:
        server = Server()
        oldest, second = server.hold(50), server.hold(50)
        oldest.size = 49
        third = server.hold(20)
        assert [client.is_dropped for client in (oldest, second, third)] == [False, True, False]
        assert server.responses.total == 69

    def test_drops_as_many_as_it_needs(self) -> None:
        server = Server()
        clients = [server.hold(25) for _ in range(4)]
        newest = server.hold(60)
        assert [client.is_dropped for client in clients] == [True, True, True, False]
        assert not newest.is_dropped
        assert server.responses.total == 85

    def test_drops_one_of_the_address_that_holds_most(self) -> None:
        server = Server()
        slow = server.hold(20, "bystander")
        clients = [server.hold(20, "attacker") for _ in range(5)]
        assert [client.is_dropped for client in clients] == [True, False, False, False, False]
        assert not slow.is_dropped

    def test_drops_none_where_others_have_taken_theirs_meanwhile(self) -> None:
        server = Server()
        clients = [server.hold(50), server.hold(50)]
        for client in clients:
            client.size = 10
        newest = server.hold(80)
        assert not any(client.is_dropped for client in (*clients, newest))

    def test_counts_a_connection_once(self) -> None:
        server = Server()
        client = server.hold(60)
        server.responses.hold(client, "a")
        assert server.responses.total == 60
        assert not client.is_dropped

    def test_drops_a_response_that_fits_nowhere(self) -> None:
        server = Server()
        assert server.hold(101).is_dropped
        assert server.responses.total == 0


class TestRelease:
    def test_makes_room(self) -> None:
        server = Server()
        client = server.hold(90)
        server.responses.release(client)
        server.responses.release(client)
        assert not server.hold(90).is_dropped
        assert server.responses.total == 90
        assert not client.is_dropped
