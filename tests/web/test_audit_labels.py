"""The audit log in words: every action and detail has a name in the reader's language."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import zenzefi
from zenzefi import i18n
from zenzefi.web import labels


def test_every_action_that_is_written_down_has_a_name() -> None:
    pattern = re.compile(r'"((?:user|token|session|bundle|payment)\.[a-z_]+)"')
    source = Path(zenzefi.__file__).parent
    written = {
        name
        for path in source.rglob("*.py")
        if path.parent.name != "web"
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert len(written) > 25
    assert written - dict(labels.audit_actions()).keys() == set()


def test_audit_details_are_translated() -> None:
    with i18n.using(i18n.locale_context("ru")):
        shown = [
            labels.audit_detail("duration_hours", 24),
            labels.audit_detail("amount", "12.50"),
            labels.audit_detail("type", "bonus"),
            labels.audit_detail("is_active", False),
            labels.audit_detail("reason", "<b>"),
            labels.audit_detail("other", None),
            labels.audit_detail("reason", "insufficient_balance"),
            labels.audit_detail("prices", {"24": "18.00", "720": "off"}),
            labels.audit_detail("prices", "settings"),
            labels.audit_detail("scopes", {"read-only": {"1": "0.50"}}),
            labels.audit_detail("effective_from", None),
            labels.audit_detail("effective_from", "2026-12-01T00:00:00+00:00"),
        ]
    assert shown == [
        ("срок", "24 часа"),
        ("сумма", "12,50\N{NO-BREAK SPACE}ZNC"),
        ("тип", "Бонус"),
        ("активен", "нет"),
        ("причина", "<b>"),
        ("other", "—"),
        ("причина", "На балансе не хватило денег."),
        ("цены", "24 часа: 18,00\N{NO-BREAK SPACE}ZNC, 30 дней: не продаётся"),
        ("цены", "как в настройках"),
        ("цены с областью доступа", "read-only: (1 час: 0,50\N{NO-BREAK SPACE}ZNC)"),
        ("действует с", "сейчас"),
        ("действует с", "1 дек. 2026, 00:00 UTC"),
    ]


def test_every_detail_that_is_written_down_has_a_name() -> None:
    source = Path(zenzefi.__file__).parent
    calls = (
        node
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("record", "_record")
    )
    written = {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}
    assert {"amount", "reason", "number"} <= written
    with i18n.using(i18n.locale_context("ru")):
        unnamed = [name for name in written if labels.audit_detail(name, "")[0] == name]
    assert unnamed == []
