from __future__ import annotations

import csv
import importlib.util
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.doctor import private
from evalharness.doctor.private import find, iban, luhn
from evalharness.doctor.secrets import excerpt, redact

SHARED = Path(__file__).parents[3] / "shared" / "data"
PRIVATE = {
    "My key is AKIAIOSFODNN7EXAMPLE, keep it": ("My key is <KEY>, keep it", "key"),
    "sk-proj-abcdEFGH1234567890abcdEFGH1234": ("<KEY>", "key"),
    "use ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2 now": ("use <KEY> now", "key"),
    "token=hf_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3": ("token=<KEY>", "key"),
    "password: Hunter2Hunter": ("password: <KEY>", "key"),
    "https://bob:s3cr3t@db.internal/x": ("https://bob:<KEY>@db.internal/x", "key"),
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY----- bye": ("<PRIVATE_KEY> bye", "private_key"),
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nbye": ("<PRIVATE_KEY>\nbye", "private_key"),
    "Write to ada.l+x@mail.co.uk!": ("Write to <EMAIL>!", "email"),
    "call me at 415 555 2671": ("call me at <PHONE>", "phone"),
    "I am at (415) 555-2671.": ("I am at <PHONE>.", "phone"),
    "+44 20 7946 0958 in the office": ("<PHONE> in the office", "phone"),
    "Tel. 06 12 34 56 78": ("Tel. <PHONE>", "phone"),
    "4111 1111 1111 1111 exp 12/27": ("<CARD> exp 12/27", "card"),
    "my card 4111111111111111.": ("my card <CARD>.", "card"),
    "card:4111111111111111": ("card:<CARD>", "card"),
    "卡号4111111111111111谢谢": ("卡号<CARD>谢谢", "card"),
    "tel:+4915123456789": ("tel:<PHONE>", "phone"),
    "phone:415-555-2671": ("phone:<PHONE>", "phone"),
    "电话13800138000。": ("电话<PHONE>。", "phone"),
    "هاتفي: 01012345678": ("هاتفي: <PHONE>", "phone"),
    "GB29 NWBK 6016 1331 9268 19 THANKS": ("<IBAN> THANKS", "iban"),
    "to DE89370400440532013000, please": ("to <IBAN>, please", "iban"),
    "to de89 3704 0044 0532 0130 00 please": ("to <IBAN> please", "iban"),
    "order 12 on 4111 1111 1111 1111 123": ("order 12 on <CARD> 123", "card"),
    "143 3782 822463 10005 it is": ("143 <CARD> it is", "card"),
    "卡 ４１１１ １１１１ １１１１ １１１１": ("卡 <CARD>", "card"),
    "Tel ＋４９ ３０ ９０１８２０": ("Tel <PHONE>", "phone"),
    "+49 30\u2011901820": ("<PHONE>", "phone"),
    "phone ٠١٠١٢٣٤٥٦٧٨": ("phone <PHONE>", "phone"),
    "Büro 030 / 901820-44": ("Büro <PHONE>", "phone"),
    "I am ada.lovelace@example.org": ("I am <EMAIL>", "email"),
    "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH": ("<KEY>", "key"),
}
HARMLESS = [
    "Order 4539578763621486 arrived", "order number: 4539578763621486", "2023-11-05 14:30:22", "2023-11-05T14:30:22+00:00",
    "123e4567-e89b-12d3-a456-426614174000", "$1,234,567.89", "1.234.567,89 EUR", "12/11/2023 - 14/11/2023", "SKU AP1234567890X99-ZZ",
    "ISBN 978-3-16-148410-0", "tracking 1Z999AA10123456784", "commit d670460b4b4aece5915caf5c68d12f560a9fe3e4",
    "10 000 000 100 200 300", "192.168.100.200 and 10.0.0.1:8080", "sk-learn-is-a-very-nice-library", "password: forgotten",
    "the secret is persistence", "api_key: {{API_KEY1}}", "see user@example.com", "at 1700000000 or 1700000000123", "52.520008, 13.404954",
    "version 1.2.3-rc1+build2023", "0012345678", "part 000-123-4567", "GB12 ABCD 1234 5678 9012 34", "3.14159265358979",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "99 100 101 102 103 104 105", "4111 1111 1111 1112", "DE88370400440532013000",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PRIVATE.items())
def test_private_parts_are_found_and_replaced(text: str, expected: tuple[str, str]) -> None:
    assert redact(text) == (expected[0], 1)
    assert [hit.kind for hit in find(text)] == [expected[1]]


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_codes_of_everyday_stay(text: str) -> None:
    assert redact(text) == (text, 0)


def test_each_of_several_is_replaced_and_only_once() -> None:
    text = "ada@mail.com (415-555-2671) paid by 4111-1111-1111-1111; bob@mail.com did not"
    assert redact(text) == ("<EMAIL> (<PHONE>) paid by <CARD>; <EMAIL> did not", 4)


def test_accounts_that_follow_each_other() -> None:
    assert redact("DE89 3704 0044 0532 0130 00 and gb29 nwbk 6016 1331 9268 19") == ("<IBAN> and <IBAN>", 2)
    assert redact("4111 1111 1111 1111 5500 0000 0000 0004") == ("<CARD> <CARD>", 2)


def test_a_number_far_into_a_text_is_seen_with_what_stands_before_it() -> None:
    assert redact("word " * 50 + "order no. 4111111111111111")[1] == 0
    assert redact("word " * 50 + "x4111111111111111")[1] == 0
    assert redact("1234567890 " + "word " * 50 + "pay 4111111111111111")[1] == 1


@given(st.lists(st.sampled_from([*PRIVATE, *HARMLESS, "and", "\n", "é", "5"]), max_size=6).map(" ".join) | st.text(max_size=200))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_a_clean_copy_is_clean_and_hits_do_not_overlap(text: str) -> None:
    hits = find(text)
    assert all(0 <= a.start < a.end <= b.start for a, b in pairwise(hits))
    clean, count = redact(text)
    assert count == len(hits)
    assert redact(clean) == (clean, 0)


@pytest.mark.parametrize("text", PRIVATE)
def test_excerpts_never_show_what_they_are_about(text: str) -> None:
    for around in (text, "word " * 100 + text + " word" * 100):
        shown = excerpt(around)
        assert len(shown) <= 102
        hidden = around[find(around)[0].start : find(around)[0].end]
        assert hidden not in shown
        assert f"<{find(around)[0].kind.upper()}>" in shown


def test_check_digits() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert iban("GB29 NWBK 6016 1331 9268 19")
    assert not iban("GB28 NWBK 6016 1331 9268 19")
    assert not iban("XX29 NWBK 6016 1331 9268 19")


@pytest.mark.skipif(importlib.util.find_spec("detect_secrets") is None, reason="the extra check is not installed")
def test_detect_secrets_knows_more_and_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs"
    assert redact(f"bot {token} joined") == ("bot <KEY> joined", 1)
    assert private.detectors() == "own patterns and detect-secrets"
    monkeypatch.setattr(private, "_plugins", lambda: ())
    assert redact(f"bot {token} joined")[1] == 0
    assert private.detectors() == "own patterns"
    assert redact("AKIAIOSFODNN7EXAMPLE")[1] == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")
def test_real_texts_raise_no_false_alarm() -> None:
    """13,083 bank questions have nothing private in them; of the news, one segment has a real phone number."""
    with (SHARED / "banking77" / "train.csv").open() as train, (SHARED / "banking77" / "test.csv").open() as test:
        questions = [row["text"] for file in (train, test) for row in csv.DictReader(file)]
    assert [text for text in questions if find(text)] == []
    news = (SHARED / "wmt17-en-de" / "ref.de").read_text().splitlines()
    assert [redact(text)[0] for text in news if find(text)] == [
        "Jeder, der Informationen zu dem Fall hat, wird gebeten das Hinweistelefon des SFPD unter der Nummer <PHONE> anzurufen."
    ]


HOSTILE = [
    "1-",
    "a@",
    "ab@cd.com ",
    "4111111111111111 ",
    "-----BEGIN PRIVATE KEY-----\n",
    "password: ",
    "+1",
    "GB29 ",
    "aB3/",
    "eyJaaaaaa.",
]


@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_texts_take_no_more_than_their_length(part: str) -> None:
    """Twice the text may take three times as long, not four: the clock is rough, so only what takes long at all is looked at."""

    def seconds(n: int) -> float:
        began = time.process_time()
        find(part * (n // len(part)))
        return time.process_time() - began

    long = seconds(100_000)
    assert long < 0.3 or long < 3 * seconds(50_000)
