"""Languages: negotiation, complete catalogs, formats of numbers and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from zenzefi import i18n
from zenzefi.resources import bundled

TOP = Path(__file__).resolve().parents[1]
KEYWORDS = {
    "_": None,
    "gettext": None,
    "N_": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
}
NBSP = "\N{NO-BREAK SPACE}"


def is_source(folder: str) -> bool:
    return Path(folder).name not in {".git", ".venv", "docs", "tests"}


def texts_in_use() -> Catalog:
    """The texts of the files that babel.cfg lists."""
    with (i18n.FOLDER / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    found = Catalog()
    for _, _, message, _, context in extract_from_dir(
        TOP, methods, options, keywords=KEYWORDS, comment_tags=(), directory_filter=is_source
    ):
        found.add(message, context=context)
    return found


def russian() -> Catalog:
    path = i18n.FOLDER / "ru" / "LC_MESSAGES" / "messages.po"
    with path.open("rb") as file:
        return read_po(file, locale="ru")


def names(text: str) -> list[str]:
    return sorted(re.findall(r"%\((\w+)\)s", text))


def forms(message: Message) -> list[str]:
    """The singular and the plural forms of a translation, empty where one is missing."""
    if isinstance(message.string, tuple | list):
        return list(message.string)
    return [message.string or ""]


def test_every_text_of_pages_and_e_mails_is_translated() -> None:
    used, known = texts_in_use(), russian()
    assert len(used) > 200
    missing = [
        message.id
        for message in used
        if message.id
        and (
            (found := known.get(message.id, message.context)) is None
            or found.fuzzy
            or not all(forms(found))
        )
    ]
    assert missing == []


def test_no_unused_translations() -> None:
    used = texts_in_use()
    left = [m.id for m in russian() if m.id and used.get(m.id, m.context) is None]
    assert left == []


def test_translations_have_the_placeholders_of_their_text() -> None:
    for message in russian():
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
        expected = {name for text in ids for name in names(text)}
        for form in forms(message):
            assert set(names(form)) == expected, message.id


def test_russian_has_three_plural_forms_everywhere() -> None:
    for message in russian():
        if isinstance(message.id, tuple):
            assert len(forms(message)) == 3, message.id


def test_templates_have_no_untranslated_text() -> None:
    allowed = {"Zenzefi", "nbsp"}
    paths = [path for path in bundled("templates").rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} == {".html", ".txt"}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"{#.*?#}", "", text, flags=re.S)
        text = re.sub(r"{% block width %}.*?{% endblock %}", "", text)
        text = re.sub(r"{%-?\s*trans.*?endtrans\s*-?%}", "", text, flags=re.S)
        text = re.sub(r"{%.*?%}|{{.*?}}", "", text, flags=re.S)
        text = re.sub(r"<code\b.*?</code>", "", text, flags=re.S)
        visible = " ".join(re.findall(r">([^<>]*)<", f">{text}<"))
        spoken = " ".join(re.findall(r'\b(?:aria-label|title|alt|placeholder)="([^"]*)"', text))
        words = set(re.findall(r"[A-Za-zА-Яа-я]{2,}", f"{visible} {spoken}")) - allowed
        assert not words, f"{path.name}: {words}"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en;q=0.5, ru;q=0.9", "ru"),
        ("de-DE,de;q=0.9,ru;q=0.5,en;q=0.4", "ru"),
        ("de, fr", "en"),
        ("*", "en"),
        ("ru;q=0", "en"),
        ("ru;q=banana, en", "en"),
        (";;;,,,=\x00", "en"),
    ],
)
def test_accept_language_is_negotiated(header: str, language: str) -> None:
    assert i18n.negotiate(header) == language


def using(language: str, zone: str = "UTC") -> Any:
    return i18n.using(i18n.locale_context(language, UTC if zone == "UTC" else ZoneInfo(zone)))


def test_durations_use_the_plural_forms_of_the_language() -> None:
    with using("ru"):
        assert [i18n.hours(n) for n in (1, 12, 24, 168, 720, 22 * 24)] == [
            "1 час",
            "12 часов",
            "24 часа",
            "7 дней",
            "30 дней",
            "22 дня",
        ]
    with using("en"):
        assert [i18n.hours(n) for n in (1, 24, 168)] == ["1 hour", "24 hours", "7 days"]


def test_money_uses_the_format_of_the_locale() -> None:
    with using("en"):
        assert i18n.money(Decimal("-1234.50")) == f"−1,234.50{NBSP}ZNC"
        assert i18n.money(Decimal("18"), signed=True) == f"+18.00{NBSP}ZNC"
    with using("ru"):
        assert i18n.money(Decimal("1234.5")) == f"1{NBSP}234,50{NBSP}ZNC"


def test_times_are_local_and_machine_readable() -> None:
    moment = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
    with using("en", "Asia/Tokyo"):
        text = str(i18n.when(moment))
    assert 'datetime="2026-11-23T22:30:00Z"' in text
    assert "24 Nov 2026, 07:30" in text
    with using("ru"):
        assert "23 нояб. 2026, 22:30 UTC" in str(i18n.when(moment))
        assert i18n.day(datetime(2026, 11, 3, tzinfo=UTC)) == "3 нояб."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600 * 19, "19 h"),
        (3661, "1 h 1 min"),
        (86400 * 2 + 3600 * 4 + 61, "2 d 4 h"),
        (-5, "0 s"),
    ],
)
def test_remaining_time_has_two_units_at_most(seconds: float, text: str) -> None:
    with using("en"):
        assert i18n.remaining(seconds).replace(NBSP, " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (0.000_004_2, "4.2 µs"),
        (0.000_4, "400 µs"),
        (0.012_3, "12.3 ms"),
        (1.0, "1.0 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_measured_durations_have_a_fitting_unit(seconds: float, text: str) -> None:
    with using("en"):
        assert i18n.span(seconds).replace(NBSP, " ") == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_340_000, "12.3 MB"),
        (340_000, "340 kB"),
        (5 * 10**12, "5,000 GB"),
    ],
)
def test_sizes_have_a_fitting_unit(count: int, text: str) -> None:
    with using("en"):
        assert i18n.size(count).replace(NBSP, " ") == text


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/passwd", "No/Where", "x" * 99, "\x00"]
)
def test_invalid_time_zones_become_utc(name: str) -> None:
    assert i18n._zone(name) is UTC
