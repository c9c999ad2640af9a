"""Secrets and personal data in a text, and where they stand.

>>> [(hit.kind, hit.start, hit.end) for hit in find("Mail ada@mail.com please")]
[('email', 5, 17)]

Cheap tests (an @, a run of digits, one long word) decide which patterns look at a text at all: most texts meet none. Numbers
count only where a check digit, an international prefix, a known shape or a word before them speaks for it: order numbers, dates,
prices and product codes are no personal data. Beside the patterns here, the plug-ins of detect-secrets look at long words where
that package is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Kind = Literal["private_key", "key", "iban", "card", "email", "phone"]
KINDS: tuple[Kind, ...] = ("private_key", "key", "iban", "card", "email", "phone")
"""Where two overlap, the earlier one counts."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What stands at text[start:end]."""

    kind: Kind
    start: int
    end: int


class _Ascii(dict[int, int | str]):
    """Translation table, filled as characters come: digits, letters and signs of other widths and scripts, one for one."""

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        plain = unicodedata.normalize("NFKC", character)
        digit, category = unicodedata.decimal(character, None), unicodedata.category(character)
        self[code] = (
            str(digit) if digit is not None else "-" if category == "Pd" else plain if plain.isascii() and len(plain) == 1 else code
        )
        return self[code]


_ASCII = _Ascii()
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.{0,10000}?-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,})*)",
    re.DOTALL,
)
_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{30,}|(?:glpat|gldt|glft|glrt|glptt|gloas|glagent)-[\w-]{20,}"
    r"|sk-(?:ant-|proj-|svcacct-|admin-|or-)?[A-Za-z0-9_-]{20,}|xai-[A-Za-z0-9]{40,}|AIza[\w-]{35}|ya29\.[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|tgp_v1_[\w-]{20,}|fw_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{40,}"
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}|sq0(?:atp|csp)-[\w-]{22,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}|SG\.[\w-]{22}\.[\w-]{43}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}"
    r"|dop_v1_[a-f0-9]{64}|dckr_pat_[\w-]{27}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|lin_api_[A-Za-z0-9]{40}|ntn_[A-Za-z0-9]{40,}"
    r"|\d{8,10}:AA[\w-]{33}|AC[a-f0-9]{32}(?![0-9A-Za-z])|key-[a-f0-9]{32}(?![0-9A-Za-z])"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*"
    r")"
)
_ACCOUNT_KEY = re.compile(r"AccountKey=([A-Za-z0-9+/]{86}==)")
_IN_URL = re.compile(r"://[^\s:/@<>]{1,80}:([^\s:/@<>]{3,80})@")
_ASSIGNED = re.compile(
    r"(?i)(?:password|passwd|passphrase|pwd|secret|api[ _-]?key|access[ _-]?key|auth[ _-]?token|access[ _-]?token|bearer)"
    r"[\"']?\s{0,2}(?:[:=]|\bis\b|(?<=bearer))\s{0,2}[\"']?(?P<value>[^\s\"'<>,;]{8,200})"
)
_NAMES = ("passw", "passphrase", "pwd", "secret", "key", "token", "bearer")
_EMAIL = re.compile(r"(?<![\w.%+-])[\w%+-][\w.%+-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,5}[A-Za-z]{2,24}(?![\w-])")
_NOBODY = re.compile(
    r"(?i)(?:user|username|name|your\W?name|you|me|someone|somebody|nobody|email|mail|address|example|foo|bar|test)"
    r"@(?:[\w-]+\.)*(?:example(?:\.(?:com|net|org|edu))?|[\w-]+\.(?:example|invalid|test|localhost))"
)
"""Stand-ins at domains that RFC 2606 keeps for documents. Any other name there was invented in place of somebody's, or is somebody's."""
_DIGITS = re.compile(r"\d(?:[ ().\-/]{0,3}\d){6}")
_CARD = re.compile(r"(?<![A-Za-z0-9_./+-])(?<!\d[,:])[0-9](?:[ -]?[0-9]){12,18}(?![A-Za-z0-9_/-]|[.,:][0-9])")
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|[68])"), (14,)),
    (re.compile(r"6011|64[4-9]|65|62|35"), (16,)),
)
_NO_CARD = re.compile(
    r"(?i)(?:order|invoice|tracking|parcel|shipment|ticket|reference|ref|booking|serial|article|item|sku|isbn|ean|imei|transaction|"
    r"customer|case|id|bestell|rechnung|sendung|auftrag|artikel)[\w.\-]{0,12}(?: ?(?:no|nr|number|nummer|id|code|is|#)\.?){0,3}[ :#=]{0,3}$"
)
"""What stands before a number that is no card, Luhn or not: one in ten of all numbers passes that check."""
_GROUP = re.compile("[0-9]+")
_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), *((n,) for n in range(13, 20))}
"""Digits as they stand together on cards."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_IBAN_LENGTH = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
    "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22,
    "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30,
    "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27,
    "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_PHONE = re.compile(
    r"(?<![A-Za-z0-9_.,/+#-])(?<!\d:)(?:"
    r"(?:\+[1-9]|00[1-9]\d{0,2}[ /-])(?:[ ().\-/]{0,3}\d){7,14}"
    r"|(?:1[ .-]?)?(?:\([2-9]\d\d\) ?[2-9]\d\d[ .-]\d{4}|[2-9]\d\d-[2-9]\d\d-\d{4}|[2-9]\d\d\.[2-9]\d\d\.\d{4})"
    r"|\(?0[1-9]\d{1,3}\)?(?:[ /-]| [/-] )\d{3,4}[ -]?\d{3,5}(?:-\d{1,4})?|0\d(?: \d\d){4}|07\d{3} \d{6}"
    r")(?![A-Za-z0-9_/-]|[.,:]\d)"
)
"""Shapes that only phone numbers have: international, North American, with a trunk 0."""
_DIALLED = re.compile(r"(?<![A-Za-z0-9_.,/+#-])(?<!\d:)\d(?:[ ().\-/]{0,3}\d){6,14}(?![A-Za-z0-9_/-]|[.,:]\d)")
_CALL = re.compile(
    r"(?i)(?:\b(?:phone|mobile|cell|tel|telephone|telefon|handy|mobil|whatsapp|sms|fax|call|ring|dial|text) ?"
    r"(?:me|us|him|her|them|number|no|nr|nummer|is|on|at|to|under|:|=|\.|#| ){0,24})$|\b(?:téléphone|móvil|telefono|teléfono)\W{0,3}$"
    r"|(?:电话|電話|手机|手機|携帯|전화|هاتف|телефон)\w{0,4}\W{0,3}$"
)
"""What stands before a number that is dialled: then any run of digits counts."""
_LONG = 16
"""Characters of the shortest word that may be a key."""
_LONGEST = 2048
"""Characters of a word that plug-ins look at: an image in base64 is no key."""
_LONG_WORD = re.compile(rf"\S{{{_LONG},}}")
_UUID = re.compile(r"\W*[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\W*")
_PLUGINS = {
    "aws": "AWSKeyDetector", "azure_storage_key": "AzureStorageKeyDetector", "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector", "gitlab_token": "GitLabTokenDetector", "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector", "npm": "NpmDetector", "openai": "OpenAIDetector", "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector", "slack": "SlackDetector", "square_oauth": "SquareOAuthDetector", "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector", "twilio": "TwilioKeyDetector",
}  # fmt: skip
"""detect-secrets' plug-ins that know a service's shape; its guesses by entropy and keyword raise too many false alarms in prose."""


def find(text: str) -> list[Hit]:
    """Everything private in the text, in order, without overlaps."""
    text = text if text.isascii() else text.translate(_ASCII)
    hits = [*_keys(text), *_numbers(text)]
    if "@" in text:
        hits += [Hit("email", *m.span()) for m in _EMAIL.finditer(text) if not _NOBODY.fullmatch(m[0])]
    return _apart(hits) if hits else []


def detectors() -> str:
    """Who looks for secrets here, for reports."""
    return "own patterns and detect-secrets" if _plugins() else "own patterns"


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812)."""
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Whether this is an IBAN (ISO 13616): its country's length, and the remainder 1 by 97."""
    number = text.replace(" ", "").upper()
    if _IBAN_LENGTH.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def _apart(hits: list[Hit]) -> list[Hit]:
    """The hits without those that overlap one of an earlier kind, or a longer one of the same."""
    taken = bytearray(max(hit.end for hit in hits))
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda h: (KINDS.index(h.kind), h.start - h.end)):
        if 1 not in taken[hit.start : hit.end]:
            taken[hit.start : hit.end] = b"\x01" * (hit.end - hit.start)
            kept.append(hit)
    return sorted(kept, key=lambda h: h.start)


def _keys(text: str) -> Iterator[Hit]:
    if "PRIVATE KEY" in text:
        yield from (Hit("private_key", *m.span()) for m in _PRIVATE_KEY.finditer(text))
    if "://" in text and "@" in text:
        yield from (Hit("key", *m.span(1)) for m in _IN_URL.finditer(text))
    words, lower = text.split(), text.lower()
    if any(name in lower for name in _NAMES) and (":" in text or "=" in text or " is " in lower or "bearer " in lower):
        yield from (Hit("key", *m.span("value")) for m in _ASSIGNED.finditer(text) if _is_password(m["value"]))
    if words and len(max(words, key=len)) >= _LONG:
        yield from (Hit("key", *m.span()) for m in _KEY.finditer(text) if _mixed(m[0]) or m[0].startswith("hf_"))
        yield from (Hit("key", *m.span(1)) for m in _ACCOUNT_KEY.finditer(text))
        yield from _by_plugins(text)


def _mixed(word: str) -> bool:
    """Letters and digits: `sk-learn-is-a-nice-library` is no key."""
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)


def _is_password(value: str) -> bool:
    """Prose after "password:" is no password, neither is a placeholder such as {{password1}} or $PASSWORD1."""
    return _mixed(value) and value[0] not in "{[$%*(" and "://" not in value


def _by_plugins(text: str) -> Iterator[Hit]:
    """What detect-secrets knows, asked about each long word of letters and digits with what stands before it in the line."""
    plugins = _plugins()
    for word in _LONG_WORD.finditer(text) if plugins else ():
        if not _mixed(word[0]) or _UUID.fullmatch(word[0]):
            continue
        begin = max(text.rfind("\n", 0, word.start()) + 1, word.start() - 40)
        window = text[begin : min(word.end(), word.start() + _LONGEST)]
        for plugin in plugins:
            for secret in plugin.analyze_string(window):
                at = text.find(secret, begin) if secret else -1
                if at >= 0:
                    yield Hit("key", at, at + len(secret))


@lru_cache(maxsize=1)
def _plugins() -> tuple[Any, ...]:
    if importlib.util.find_spec("detect_secrets") is None:
        return ()
    return tuple(getattr(importlib.import_module(f"detect_secrets.plugins.{file}"), name)() for file, name in _PLUGINS.items())


def _numbers(text: str) -> Iterator[Hit]:
    for begin, end in _runs(text):
        yield from _ibans(text, begin, end)
        yield from (hit for m in _CARD.finditer(text, begin, end) for hit in _cards(m, text))
        yield from (Hit("phone", *m.span()) for m in _PHONE.finditer(text, begin, end))
        yield from (Hit("phone", *m.span()) for m in _DIALLED.finditer(text, begin, end) if _CALL.search(_before(m.start(), text)))


def _runs(text: str) -> Iterator[tuple[int, int]]:
    """Where seven digits and more stand together, with room for what belongs to them."""
    begin = end = -1
    for match in _DIGITS.finditer(text):
        if match.start() - 16 > end:
            if end >= 0:
                yield begin, end
            begin = max(0, match.start() - 16)
        end = match.end() + 48
    if end >= 0:
        yield begin, end


def _ibans(text: str, begin: int, end: int) -> Iterator[Hit]:
    while match := _IBAN.search(text, begin, end):
        length = _iban_length(match[0])
        if length:
            yield Hit("iban", match.start(), match.start() + length)
        begin = match.start() + (length or 4)


def _iban_length(found: str) -> int:
    """Characters of the IBAN at the beginning of what was found (words may follow it); 0 if it is none."""
    wanted, seen = _IBAN_LENGTH.get(found[:2].upper(), 0), 0
    for place, character in enumerate(found):
        seen += character != " "
        if seen == wanted:
            return place + 1 if iban(found[: place + 1]) and found[place + 1 : place + 2] in ("", " ") else 0
    return 0


def _cards(match: re.Match[str], text: str) -> Iterator[Hit]:
    """What was found, or the cards among its groups of digits: another number may stand before one, its code after it."""
    groups = [(each.start() + match.start(), each.end() + match.start()) for each in _GROUP.finditer(match[0])]
    at, last = 0, len(groups)
    if _is_card(text, *match.span()):
        yield Hit("card", *match.span())
        return
    while at < last:
        some = (groups[at : at + n] for n in range(last - at, 0, -1))
        like = (each for each in some if tuple(end - start for start, end in each) in _GROUPS)
        found = next((each for each in like if _is_card(text, each[0][0], each[-1][1])), None)
        if found:
            yield Hit("card", found[0][0], found[-1][1])
        at += len(found or [at])


def _is_card(text: str, start: int, end: int) -> bool:
    digits = "".join(_GROUP.findall(text[start:end]))
    known = any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS)
    return known and len(set(digits)) > 1 and luhn(digits) and not _NO_CARD.search(_before(start, text))


def _before(start: int, text: str) -> str:
    return text[max(0, start - 48) : start]
