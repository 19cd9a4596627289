"""Which text is an address. Versions, times, PCI bus ids and hexadecimal dumps look like addresses too.

A private IPv4 address is one wherever it stands, unless it follows a word or a sign that announces a version. Any other
four numbers with dots are an address only if something says so: a field that holds addresses, a word before it, a port
or a network's length after it.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

Octets = tuple[int, ...]

_START = r"(?:(?<![\w.])|(?<=\\[nrt]))"  # an escaped line end inside of JSON inside of text is no letter
#: Dots may be escaped, as in a query's regular expression.
IPV4 = re.compile(
    _START + r"([0-9]{1,3})(\\{0,2}\.)([0-9]{1,3})\2([0-9]{1,3})\2([0-9]{1,3})(?!\w|\\{0,2}\.[0-9])", re.ASCII
)
#: An address in a host's name: ip-10-0-3-7, ec2-203-0-113-7.
DASHED = re.compile(
    r"(?<![0-9A-Za-z])((?:ip|ec2)[-_])?([0-9]{1,3})([-_])([0-9]{1,3})\3([0-9]{1,3})\3([0-9]{1,3})(?!\w)"
)
IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.[0-9]{1,3}){3})?(?![\w:])", re.ASCII)
#: Ethernet (6), EUI-64 (8) and InfiniBand (20) addresses; also in the name that systemd gives to a network card.
HARDWARE = re.compile(
    r"(?<![\w:.-])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4,18}[0-9A-Fa-f]{2}(?![\w:-])|(?<=\benx)[0-9a-f]{12}\b",
    re.ASCII,
)
#: The name of a field that holds addresses.
FIELD = re.compile(r"(?:IPs?|(?<![a-z])ips?|[aA]ddress(?:es)?|CIDRs?)$")
#: The first address in such a field, as JSON text.
IN_FIELD = re.compile(
    r'(?:IPs?|(?<![a-z])ips?|[aA]ddress(?:es)?|CIDRs?)"\s*:\s*\[?\s*"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})'
)

_CONTEXT = 40
_GAP = r"""[\s"'=:({\[<>\\]{0,4}$"""
_URL = re.compile(r"(?<!containerd)(?<!docker)(?<!cri-o)://$|@$")
_PORT = re.compile(r":[0-9]{2,5}(?![\w.])|<[0-9]+>")
_VERSION = re.compile(
    r"(?:version|release|revision|\bver|\brev|firmware|\bfw|bios|inforom|driver|cuda|cudnn|cublas|curand|tensorrt|nccl"
    r"|ofed|package|\bpkg|\btag|\bv|_v)" + _GAP + r"|[=<>~!]=\s?$|[-+~^]$|://$|/[\w.-]+:$",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"-[0-9A-Za-z]|\+")
_NETWORK = re.compile(r"/(?:[0-9]{1,2}(?![\w.])|[A-Za-z])")
_ANNOUNCED = re.compile(
    r"(?:\bips?|\binet|\baddr|address|addresses|\bhost|hostname|endpoint|\bpeer|server|gateway|\bgw|\bdns|nameserver"
    r"|\bsrc|\bdst|listen|listening on|\bbind|\bdial|\btcp|\budp|\bnode|instance|remote|client|connect to|connected to"
    r"|connecting to|connection from|\broute|\bvia|subnet|cidr|\beth[0-9]|\ben[ops][0-9]\w*)" + _GAP,
    re.IGNORECASE,
)
_PRIVATE = ((10,), (192, 168), (169, 254), *((172, second) for second in range(16, 32)))


def octets(parts: tuple[str, ...]) -> Octets | None:
    """Four numbers that can be a host's address; None if not, and for everybody's (127.0.0.1, 0.0.0.0, masks).

    None for stand-ins too: they stand already.
    """
    numbers = tuple(map(int, parts))
    if (
        max(numbers) > 255
        or numbers[0] >= 240
        or any(len(part) > 1 and part[0] == "0" for part in parts)
        or numbers[0] in (0, 127)
    ):
        return None
    return numbers


def says_address(found: Octets, before: str, after: str) -> bool:
    """Whether four numbers are an address by what they are and what stands around them."""
    before = before[-_CONTEXT:].rpartition("\n")[2]
    if _URL.search(before) or _PORT.match(after):
        return True
    if _VERSION.search(before) or _SUFFIX.match(after):
        return False
    private = found[:1] in _PRIVATE or found[:2] in _PRIVATE or (found[0] == 100 and 64 <= found[1] < 128)
    return private or _NETWORK.match(after) is not None or _ANNOUNCED.search(before) is not None


def ipv6(text: str) -> IPv6Address | None:
    """An address; None for anything else with colons, and for those that everybody has (::, ::1)."""
    if ("::" not in text and text.count(":") < 6) or HARDWARE.fullmatch(text):
        return None
    try:
        found = IPv6Address(text)
    except ValueError:
        return None
    return None if found.is_loopback or found.is_unspecified else found
