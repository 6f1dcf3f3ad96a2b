"""Which addresses are the internet's: every way to write, embed or hide one that is not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ValidationError
from awsllm.fetching.addresses import is_public, may_be_called, read_address
from awsllm.fetching.rules import FetchUrls
from awsllm.fetching.visit import place_of

METADATA = IPv4Address("169.254.169.254")
SPECIAL = (
    "0.0.0.0",  # noqa: S104
    "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.9.10", "168.63.129.16", "169.254.169.254",
    "169.254.170.2", "169.254.170.23", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.2.3", "240.0.0.1",
    "255.255.255.255",
)  # fmt: skip
SPECIAL_V6 = (
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "100::1", "2001:db8::1", "3fff::1",
    "2001::1", "2001:2::1", "2001:20::1", "5f00::1",
    "fec0::1", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1::808:808",
    "::8.8.8.8",
    "::ffff:0:808:808",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "93.184.216.34", "172.32.0.1", "172.15.0.1", "2606:2800:220:1:248:1893:25c8:1946", "2a00::1")

special_v4 = st.sampled_from([ip_network(f"{text}/32") for text in SPECIAL]).map(lambda n: n.network_address)


@pytest.mark.parametrize("text", [*SPECIAL, *SPECIAL_V6])
def test_an_address_of_no_internet_is_told(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_told(text: str) -> None:
    assert is_public(ip_address(text))


def embedded(address: IPv4Address) -> dict[str, IPv6Address]:
    """The ways of writing an IPv4 address into an IPv6 one."""
    number, four = int(address), address.packed
    return {
        "mapped": IPv6Address((0xFFFF << 32) | number),
        "compatible": IPv6Address(number),
        "translated": IPv6Address((0xFFFF << 48) | number),
        "NAT64": IPv6Address((0x0064FF9B << 96) | number),
        "local NAT64": IPv6Address((0x0064FF9B0001 << 80) | number),
        "6to4": IPv6Address(b"\x20\x02" + four + bytes(10)),
        "Teredo": IPv6Address(b"\x20\x01\0\0" + bytes(8) + bytes(byte ^ 255 for byte in four)),
        "Teredo server": IPv6Address(b"\x20\x01\0\0" + four + bytes(8)),
        "ISATAP": IPv6Address(bytes.fromhex("2a00000000000000") + b"\0\0\x5e\xfe" + four),
    }


@given(address=special_v4, networks=st.sampled_from([(), ("10.0.0.0/8", "127.0.0.0/8"), ("2000::/3", "fd00::/8")]))
def test_no_way_of_embedding_hides_a_special_address(address: IPv4Address, networks: tuple[str, ...]) -> None:
    for name, one in embedded(address).items():
        assert not is_public(one), name
    for one in embedded(METADATA).values():
        if one not in ip_network("2a00::/16"):  # ISATAP looks like any other address of a network that is opened
            assert not may_be_called(one, [ip_network(network) for network in networks])


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_of_ipv6_only_global_unicast_and_nat64_are_the_internets(address: IPv6Address) -> None:
    if is_public(address):
        assert address in ip_network("2000::/3") or address in ip_network("64:ff9b::/96") or address.ipv4_mapped
        assert address.is_global, "never laxer than Python's own table"


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_never_laxer_than_pythons_own_table(address: IPv4Address) -> None:
    assert not is_public(address) or address.is_global


def test_a_callers_own_network_opens_it_and_never_a_metadata_service() -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert may_be_called(ip_address("10.1.2.3"), [ip_network("10.1.0.0/16")])
    assert may_be_called(ip_address("::ffff:10.1.2.3"), [ip_network("10.1.0.0/16")])
    assert not may_be_called(ip_address("10.2.0.1"), [ip_network("10.1.0.0/16")])
    for text in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "::", "fe80::1"):
        assert not may_be_called(ip_address(text), everything)
        assert not may_be_called(ip_address("64:ff9b::a9fe:a9fe"), everything)


# --- how addresses and hosts are written -----------------------------------------------------------------------------


def written(address: IPv4Address) -> list[str]:
    """Writings that some resolvers take for this address."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        str(number), hex(number), oct(number).replace("0o", "0"), f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"{a}.{b}.{(c << 8) | d}", f"{a}.{(b << 16) | (c << 8) | d}",
        f"{a:03}.{b:03}.{c:03}.{d:03}", f"{a}.{b}.{c}.{d}.", f"{a}.{b}.{c}.{d:#x}", f"{a}.{b}.{c}.0{d:o}",
    ]  # fmt: skip


ANY = FetchUrls(hosts=["*"], http=True)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_has_one_writing(address: IPv4Address) -> None:
    for text in written(address):
        if text == str(address):  # a number below 100 in three digits is the same
            continue
        assert read_address(text) is None
        with pytest.raises(ValidationError):
            place_of(f"http://{text}/", ANY)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/x", "example.com/x",
        "https:/x",
        "https://", "https:///x", "https://user@example.com/", "https://user:word@example.com/", "https://@example.com/",
        "https://example.com:22/", "https://example.com:80/", "https://example.com:99999/", "https://example.com:x/",
        "http://example.com:443/", "https://example.com./", "https://.example.com/", "https://exa mple.com/",
        "https://example.com\\@evil.test/", "https://example.com\t.evil.test/", "https://example.com/\r\nHost: evil",
        "https://ex\u00e4mple.com/", "https://\uff11\uff12\uff17.0.0.1/", "https://127\u30020\u30020\u30021/",
        "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1/", "https://[v1.x]/",
        "https://0x7f.1/",
        "https://1.2.3.4.5/", "https://256.1.1.1/", "https://-a.com/", "https://a-.com/",
        "https://" + "a" * 64 + ".com/",
        "https://a%2fb.com/", "https://a%00.com/", "https://" + "a." * 130 + "com/",
        "https://example.com/" + "a" * 9000,
    ],
)  # fmt: skip
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        place_of(url, ANY)
    assert "word" not in str(refused.value)


def test_plain_http_is_asked_for() -> None:
    with pytest.raises(ValidationError, match=r"http=True"):
        place_of("http://example.com/", FetchUrls(hosts=["*"]))
    assert place_of("http://example.com", ANY).port == 80


@pytest.mark.parametrize(
    ("hosts", "url", "taken"),
    [
        (["example.com"], "https://example.com/a", True),
        (["example.com"], "https://EXAMPLE.com:443/a", True),
        (["Example.COM"], "https://example.com/a", True),
        (["example.com"], "https://www.example.com/a", False),
        (["*.example.com"], "https://a.b.example.com/a", True),
        (["*.example.com"], "https://example.com/a", False),
        (["*.example.com"], "https://badexample.com/a", False),
        (["example.com"], "https://example.com.evil.test/a", False),
        (["example.com:8443"], "https://example.com:8443/a", True),
        (["example.com:8443"], "https://example.com/a", False),
        (["example.com"], "https://example.com:8443/a", False),
        (["[2606::1]:8443"], "https://[2606::1]:8443/a", True),
        (["2606::1"], "https://[2606::1]/a", True),
        (["*"], "https://anything.test/a", True),
        (["*"], "https://anything.test:8443/a", False),
    ],
)
def test_hosts_are_a_list(hosts: list[str], url: str, taken: bool) -> None:
    rules = FetchUrls(hosts=hosts)
    if taken:
        rules.allows(url)
    else:
        with pytest.raises(ValidationError, match="none of the hosts"):
            rules.allows(url)


def test_what_is_asked_for_is_written_as_http_takes_it() -> None:
    place = place_of("https://example.com/a b".replace(" ", "%20") + "/\u00e4?q=\u00fc&x=1#part", ANY)
    assert place.target == "/a%20b/%C3%A4?q=%C3%BC&x=1"
    assert place.authority == "example.com"
    assert place_of("https://[2606::1]:8443/", FetchUrls(hosts=["[2606::1]:8443"])).authority == "[2606::1]:8443"
