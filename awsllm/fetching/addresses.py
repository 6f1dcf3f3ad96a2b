"""Which addresses are the internet's, as far as an address tells.

``ipaddress.is_global`` is not enough: which networks it knows differs by Python's version, and 3.11.7 has it true of
``64:ff9b::a9fe:a9fe`` and ``2002:a9fe:a9fe::``, behind which 169.254.169.254 stands, where a cloud hands its machines
their credentials. So the rule is the other way round: of IPv6 nothing but global unicast (2000::/3), less what is
reserved in it, and NAT64's well-known prefix for what it embeds; of IPv4 everything but the special networks.

Sources: IANA's registries of special-purpose addresses (RFC 6890 and its successors), RFC 6052 and 8215 (NAT64), 3056
and 7526 (6to4), 4380 (Teredo). A network's own NAT64 prefix looks like any other address: where there is one, only an
allow-list of hosts helps.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; 0.0.0.0 reaches this machine
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared behind a carrier's NAT; 100.100.100.200 is Alibaba's metadata service
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's services of a machine
            "169.254.0.0/16",  # link-local: metadata services, and 169.254.170.2 with a container's credentials
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle's metadata service
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_UNICAST = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: no network of today needs it, and it embeds any IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
# What no list of a caller's own networks opens: where clouds hand out credentials (fd00:ec2::254 is Amazon's,
# fd20:ce::254 Google's), what is nobody's address, and what embeds another that cannot be told.
_NEVER: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"), IPv4Network("100.100.100.200/32"), IPv4Network("168.63.129.16/32"),
    IPv4Network("169.254.0.0/16"), IPv4Network("192.0.0.192/32"), IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("::/128"), IPv6Network("fd00:ec2::/32"), IPv6Network("fd20:ce::/32"), IPv6Network("fe80::/10"),
    IPv6Network("ff00::/8"), IPv6Network("64:ff9b:1::/48"), IPv6Network("2001::/32"), IPv6Network("2002::/16"),
)  # fmt: skip


def is_public(address: Address) -> bool:
    """Whether an address is the internet's."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    if (mapped := address.ipv4_mapped) is not None:
        return is_public(mapped)
    if address in _NAT64:
        return is_public(IPv4Address(address.packed[12:]))
    if address.scope_id is not None or address not in _UNICAST or _is_isatap(address):
        return False
    return not any(address in network for network in _SPECIAL_V6)


def may_be_called(address: Address, own: Iterable[Network] = ()) -> bool:
    """Whether an address is the internet's, or one of the networks that a caller opens; never a metadata service's."""
    plain = unwrapped(address)
    if any(one in network for one in (address, plain) for network in _NEVER):
        return False
    return is_public(address) or any(plain in network for network in own)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address is another writing of, or leads to through NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if (mapped := address.ipv4_mapped) is not None:
        return mapped
    return IPv4Address(address.packed[12:]) if address in _NAT64 else address


def _is_isatap(address: IPv6Address) -> bool:
    """Whether the lower half embeds an IPv4 address by ISATAP (RFC 5214)."""
    return address.packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def read_address(text: str) -> Address | None:
    """An address in its one usual writing; None for anything else, decimal, octal, short and hexadecimal forms too,
    which some resolvers take for addresses."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id is not None else address
