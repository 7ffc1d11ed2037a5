"""Which addresses requests to given URLs may reach."""

from ipaddress import ip_address, ip_network

import pytest

from services.kit.url_guard.addresses import NEVER, NOT_PUBLIC, AddressPolicy

PUBLIC = AddressPolicy()
# Networks that the operator may allow, with an address of each.
NOT_PUBLIC_ADDRESSES = (
    *("10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1", "127.255.255.254", "172.16.0.1", "172.31.255.255"),
    *("192.168.0.1", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"),
    *("203.0.113.1", "240.0.0.1", "255.255.255.254"),
    *("::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fc00::1", "fd12:3456::1"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "100::1", "2001::1", "2001:1ff::1", "2002:7f00:1::"),
    *("2002:808:808::", "2001:db8::1", "3fff::1", "5f00::1"),
)
NEVER_ADDRESSES = (
    *("0.0.0.1", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    *("::", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1"),
    # The same behind IPv6.
    *("::ffff:169.254.169.254", "::ffff:0.0.0.0", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("2002:a9fe:a9fe::", "2002:a9fe:a9fe::1", "::ffff:224.0.0.1", "64:ff9b::6464:64c8"),
)
# The special-purpose networks of the registries, written out once more.
SPECIAL_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64"),
    *("2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "64:ff9b::/96", "64:ff9b:1::/48"),
)


class TestPublicPolicy:
    @pytest.mark.parametrize("network", SPECIAL_NETWORKS)
    def test_refuses_the_ends_of_special_networks(self, network: str) -> None:
        ends = ip_network(network)
        assert not PUBLIC.permits(ends[0])
        assert not PUBLIC.permits(ends[-1])

    @pytest.mark.parametrize("address", NOT_PUBLIC_ADDRESSES + NEVER_ADDRESSES)
    def test_refuses(self, address: str) -> None:
        assert not PUBLIC.permits(ip_address(address))

    @pytest.mark.parametrize(
        "address",
        ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.128.0.1", "::ffff:8.8.8.8", "2606:4700::1111"],
    )
    def test_permits(self, address: str) -> None:
        assert PUBLIC.permits(ip_address(address))

    def test_has_a_case_for_each_network(self) -> None:
        addresses = [ip_address(address) for address in NOT_PUBLIC_ADDRESSES + NEVER_ADDRESSES]
        unmet = [
            network
            for network in (*NEVER, *NOT_PUBLIC)
            if not any(address.version == network.version and address in network for address in addresses)
        ]
        assert unmet == []


class TestAllowedNetworks:
    EVERYTHING = AddressPolicy([ip_network("0.0.0.0/0"), ip_network("::/0")])

    @pytest.mark.parametrize("address", NOT_PUBLIC_ADDRESSES)
    def test_are_permitted(self, address: str) -> None:
        assert self.EVERYTHING.permits(ip_address(address))

    @pytest.mark.parametrize("address", NEVER_ADDRESSES)
    def test_cannot_hold_metadata_and_link_local_addresses(self, address: str) -> None:
        assert not self.EVERYTHING.permits(ip_address(address))

    def test_permit_nothing_besides(self) -> None:
        policy = AddressPolicy([ip_network("10.1.0.0/16")])
        assert policy.permits(ip_address("10.1.2.3"))
        assert policy.permits(ip_address("::ffff:10.1.2.3"))
        assert not policy.permits(ip_address("10.2.0.1"))

    def test_of_translation_leave_what_is_translated_refused(self) -> None:
        policy = AddressPolicy([ip_network("64:ff9b::/96")])
        assert policy.permits(ip_address("64:ff9b::808:808"))
        assert not policy.permits(ip_address("64:ff9b::a00:1"))
