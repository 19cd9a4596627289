"""Stand-ins: another value of the same shape for a serial number, a UUID or an address.

Which one follows from the value and a secret salt by HMAC, so that one value has one stand-in wherever it appears, and
nobody without the salt gets back to the value, not even by trying all addresses there are.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from ipaddress import IPv6Address

_PREFIX = re.compile(r"(?:GPU-|MIG-|SWX-|0[xX])?")
_TRIES = 50
_DIGITS, _LOWER, _UPPER = "0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEX = (f"{_DIGITS}abcdef", f"{_DIGITS}ABCDEF")
#: The first octets of addresses that the Internet does not use: stand-ins are never taken for anybody's address.
_RESERVED = range(240, 255)
_DOCUMENTATION = 0x20010DB8 << 96


class StandIns:
    """The stand-ins of one run. Different values have different ones."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()

    def hexadecimal(self, digits: str) -> str:
        """For the digits of a UUID, or of another long number in base 16: as many, in the same case."""
        found = self._bytes("hex", digits.lower(), (len(digits) + 1) // 2).hex()[: len(digits)]
        return found if digits == digits.lower() else found.upper()

    def ipv4(self, octets: tuple[int, ...]) -> tuple[str, ...]:
        """For the four octets of an address."""

        def make(noise: bytes) -> str:
            return f"{_RESERVED[noise[0] % len(_RESERVED)]}.{noise[1]}.{noise[2]}.{noise[3]}"

        return tuple(self._distinct("ipv4", ".".join(map(str, octets)), 4, make).split("."))

    def ipv6(self, address: IPv6Address) -> str:
        """For an address, however it was written; its own stand-in for the IPv4 address in one."""
        if mapped := address.ipv4_mapped:
            return f"::ffff:{'.'.join(self.ipv4(tuple(mapped.packed)))}"
        noise = int.from_bytes(self._bytes("ipv6", address.exploded, 12), "big")
        return str(IPv6Address(_DOCUMENTATION | noise))

    def hardware_address(self, octets: str) -> str:
        """For the digits of a MAC or InfiniBand address, without separators; nobody's, by its first octet."""
        return f"02{self.hexadecimal(octets)[2:]}"

    def shaped(self, text: str) -> str:
        """For anything else: digits in place of digits, letters in place of letters; what `GPU-` or `0x` says stays."""
        start = _PREFIX.match(text).end()  # type: ignore[union-attr]
        body = text[start:]
        hexadecimal = next(
            (each for each in _HEX if set(body) <= {*each, "-"} and not set(body) <= {*_DIGITS, "-"}), ""
        )
        alphabets = [_alphabet(each, hexadecimal) for each in body]

        def make(noise: bytes) -> str:
            return "".join(each[number % len(each)] for each, number in zip(alphabets, noise, strict=True))

        return text[:start] + self._distinct(f"shaped {text[:start]}", body, len(body), make)

    def _distinct(self, kind: str, value: str, size: int, make: Callable[[bytes], str]) -> str:
        if (kind, value) in self._given:
            return self._given[kind, value]
        found = value
        for turn in range(_TRIES):
            found = make(self._bytes(kind, f"{value} {turn}", size))
            if found != value and (kind, found) not in self._taken:
                break
        self._given[kind, value] = found
        self._taken.add((kind, found))
        return found

    def _bytes(self, kind: str, value: str, size: int) -> bytes:
        noise, message = b"", f"{kind} {value}".encode("utf-8", "surrogatepass")
        while len(noise) < size:
            noise += hmac.digest(self._salt, b"%d %s" % (len(noise), message), "sha256")
        return noise[:size]


def _alphabet(character: str, hexadecimal: str) -> str:
    """What may stand in the place of a character; for punctuation, itself only. Serial numbers may begin with 0."""
    for alphabet in (hexadecimal, _DIGITS, _LOWER, _UPPER):
        if character in alphabet:
            return alphabet
    return character
