"""What is an identity in a text, and what stands in its place."""

from __future__ import annotations

import re
from typing import Any

from gpu_readiness.redact import addresses
from gpu_readiness.redact.standins import StandIns

_UUID = re.compile(
    r"(?:(?<![0-9A-Fa-f])|(?<=pod))([0-9A-Fa-f]{8})([-_]|\\x2d)([0-9A-Fa-f]{4})\2([0-9A-Fa-f]{4})\2([0-9A-Fa-f]{4})\2"
    r"([0-9A-Fa-f]{12})(?![0-9A-Fa-f])"
)
#: EC2's instances are part of names, labels and provider ids.
_INSTANCE = re.compile(r"(?<![0-9A-Za-z])i-(?:[0-9a-f]{17}|[0-9a-f]{8})(?![0-9A-Za-z])")
_FIELD = re.compile(
    r"(?:serial(?:[ _.-]?(?:number|num|no))?|uuid|guid|^uid|pdi|machine[-_]?id|boot[-_]?id)$", re.IGNORECASE
)
#: The same in free text, XML and exposition text, with the value after it.
_STATED = re.compile(
    r"(?:serial(?:[ _-]?(?:number|num|no))?|uuid|guid|pdi|machine-?id)"
    r"""(?:["'\\]{0,2}\s*[:=]\s*["'\\]{0,2}|>)([0-9A-Za-z][\w.+-]{4,126}\w)""",
    re.IGNORECASE | re.ASCII,
)
_STATED_HINTS = ("erial", "ERIAL", "uuid", "UUID", "Uuid", "GUID", "guid", "pdi", "achine")
#: Numbers of machines in provider ids. Names of machines are names of nodes, which stay.
_PROVIDED = re.compile(r'"providerID"\s*:\s*"[^"]{0,200}/([0-9]{8,}|[0-9a-f]{12,})"')
#: A cluster of EKS is often called by its ARN, which has the account's number in it.
_ACCOUNT = re.compile(r"\barn:aws[a-z-]{0,20}:[^:\s]{0,40}:[^:\s]{0,40}:([0-9]{12}):")
_WORD = re.compile(r"[0-9A-Za-z]+")
_HEX32 = re.compile(r"[0-9A-Fa-f]{32}")
#: Shorter identities are replaced where something says what they are, and nowhere else: they may be plain numbers.
_MIN_KNOWN = 8
_MAX_SHAPES = 64
_MAX_KEPT = 1 << 16
_KEPT_LENGTH = 300


class Rules:
    """Redaction of strings. What was learned once is recognised without any context later."""

    def __init__(self, standins: StandIns) -> None:
        self._standins = standins
        self._addresses: set[addresses.Octets] = set()
        self._known: set[str] = set()
        self._shapes: set[str] = set()
        self._known_pattern: re.Pattern[str] | None = None
        self._kept: dict[tuple[str, str], str] = {}

    # --- learning --------------------------------------------------------------------------------------------------

    def learn(self, text: str) -> None:
        """Take note of what the text says to be an address, a serial number or another identity."""
        for match in addresses.IN_FIELD.finditer(text):
            self._learn_address(match.groups())
        for pattern, hints in ((_STATED, _STATED_HINTS), (_PROVIDED, ("providerID",)), (_ACCOUNT, ("arn:aws",))):
            if any(hint in text for hint in hints):
                for match in pattern.finditer(text):
                    self._learn_word(match[1])

    def _learn_address(self, parts: tuple[str, ...]) -> None:
        if found := addresses.octets(parts):
            self._addresses.add(found)

    def _learn_word(self, word: str) -> None:
        if len(word) < _MIN_KNOWN or not _is_identity(word) or _UUID.search(word):
            return
        shape = _WORD.sub(_shape, re.escape(word))
        if shape not in self._shapes and len(self._shapes) < _MAX_SHAPES:
            self._shapes.add(shape)
            longest_first = sorted(self._shapes, key=lambda each: (-each.count("{"), each))
            self._known_pattern = re.compile(f"(?<![0-9A-Za-z])(?:{'|'.join(longest_first)})(?![0-9A-Za-z])")
        self._known.add(word)

    # --- redaction -------------------------------------------------------------------------------------------------

    def field(self, key: str, value: str) -> str:
        """The value of a field, whose name may say that it is an identity or an address."""
        kept = self._kept.get((key, value))
        if kept is None:
            kept = self._field(key, value)
            if len(value) <= _KEPT_LENGTH:
                if len(self._kept) >= _MAX_KEPT:
                    self._kept.clear()
                self._kept[key, value] = kept
        return kept

    def _field(self, key: str, value: str) -> str:
        if _FIELD.search(key):
            return self.identity(value)
        if key == "providerID":
            scheme, mark, rest = value.rpartition("://")
            return scheme + mark + "/".join(map(self._provided, rest.split("/")))
        return self.text(value, key)

    def _provided(self, part: str) -> str:
        """A part of a provider id: projects and accounts have names without any mark."""
        found = self.text(part)
        return found if found != part else self._standins.shaped(part)

    def identity(self, value: str) -> str:
        """The stand-in of what is known to be an identity, as far as it is one."""
        found = _UUID.sub(self._uuid, value)
        if found != value or not _is_identity(value):
            return found
        if _HEX32.fullmatch(value):
            return self._standins.hexadecimal(value)
        return self._standins.shaped(value)

    def number(self, key: str, value: Any) -> Any:
        """A number; only that of a serial number's field has a stand-in."""
        if isinstance(value, int) and not isinstance(value, bool) and value > 999 and _FIELD.search(key):
            return int(self._standins.shaped(str(value)))
        return value

    def text(self, text: str, key: str = "") -> str:
        """Free text, or the value of a field called `key`."""
        if any(hint in text for hint in _STATED_HINTS):
            text = _STATED.sub(self._stated, text)
        if self._known_pattern is not None and len(text) >= _MIN_KNOWN:
            text = self._known_pattern.sub(self._word, text)
        if text.count("-") >= 3 or text.count("_") >= 3 or "\\x2d" in text:
            text = _UUID.sub(self._uuid, text)
            text = addresses.DASHED.sub(self._dashed, text)
        if "i-" in text:
            text = _INSTANCE.sub(lambda match: f"i-{self._standins.hexadecimal(match[0][2:])}", text)
        if text.count(":") >= 2 or text.count("-") >= 5 or "enx" in text:
            text = addresses.IPV6.sub(self._ipv6, text)
            text = addresses.HARDWARE.sub(self._hardware, text)
        if text.count(".") >= 3:
            text = self._ipv4(text, key)
        return text

    def _stated(self, match: re.Match[str]) -> str:
        value = match[1]
        if value in self._known or _UUID.search(value) or not _is_identity(value):
            return match[0]
        return match[0][: match.start(1) - match.start()] + self.identity(value)

    def _word(self, match: re.Match[str]) -> str:
        return self.identity(match[0]) if match[0] in self._known else match[0]

    def _uuid(self, match: re.Match[str]) -> str:
        digits = match[1] + match[3] + match[4] + match[5] + match[6]
        if not digits.strip("0"):
            return match[0]  # nobody's
        found, mark = self._standins.hexadecimal(digits), match[2]
        return mark.join((found[:8], found[8:12], found[12:16], found[16:20], found[20:]))

    def _dashed(self, match: re.Match[str]) -> str:
        found = addresses.octets(match.group(2, 4, 5, 6))
        if found is None or not (match[1] or found in self._addresses):
            return match[0]
        return (match[1] or "") + match[3].join(self._standins.ipv4(found))

    def _hardware(self, match: re.Match[str]) -> str:
        mark = match[1] or ""
        digits = match[0].replace(mark, "") if mark else match[0]
        if len(digits) not in (12, 16, 40) or len({*digits.lower()}) == 1:
            return match[0]  # a dump, or everybody's
        found = self._standins.hardware_address(digits)
        return mark.join(found[at : at + 2] for at in range(0, len(found), 2)) if mark else found

    def _ipv6(self, match: re.Match[str]) -> str:
        text = match[0]
        end = ":" if text.endswith(":") and not text.endswith("::") else ""
        found = addresses.ipv6(text.removesuffix(end))
        return match[0] if found is None else self._standins.ipv6(found) + end

    def _ipv4(self, text: str, key: str) -> str:
        sure = addresses.FIELD.search(key) is not None

        def replace(match: re.Match[str]) -> str:
            found = addresses.octets(match.group(1, 3, 4, 5))
            if found is None:
                return match[0]
            if not (sure or found in self._addresses):
                start, end = match.span()
                if not addresses.says_address(found, f"{key}={text[max(0, start - 40) : start]}", text[end : end + 8]):
                    return match[0]
            return match[2].join(self._standins.ipv4(found))

        return addresses.IPV4.sub(replace, text)


def _shape(run: re.Match[str]) -> str:
    return f"[0-9{'' if run[0].isdecimal() else 'A-Za-z'}]{{{len(run[0])}}}"


def _is_identity(value: str) -> bool:
    """Whether it can be somebody's: not N/A, not all zeros, and not a word."""
    digits = [each for each in value if each.isdigit()]
    return len(value) >= 4 and bool(digits) and any(each not in "0xX-:. " for each in value)
