"""Names of stored values (transaction types, payment states, audit actions) for the pages."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation

from zenzefi.i18n import N_, hours, money, pgettext, when
from zenzefi.i18n import gettext as _
from zenzefi.settings.catalogue import OFF
from zenzefi.tokens.scope_texts import scope_text
from zenzefi.tokens.sessions import OTHERS

_TRANSACTION_TYPES = {
    "deposit": N_("Top-up"),
    "purchase": N_("Purchase"),
    "refund": N_("Refund"),
    "bonus": N_("Bonus"),
    "adjustment": N_("Adjustment"),
}


def transaction_type(name: str) -> str:
    """Name of a transaction type."""
    return _(_TRANSACTION_TYPES.get(name, name))


def transaction_types() -> list[tuple[str, str]]:
    """All transaction types, for a filter."""
    return [("", _("All")), *((name, transaction_type(name)) for name in _TRANSACTION_TYPES)]


_DESCRIPTIONS = (
    (
        re.compile(r"(?:Refund of an access|Access) token for (\d+) h"),
        N_("token, %(what)s"),
    ),
    (re.compile(r"Bundle (.+)"), N_("bundle “%(what)s”")),
    (re.compile(r"Top-up by (\w+)"), N_("by %(what)s")),
    (re.compile(r"Payment by (\w+) refunded"), N_("payment by %(what)s refunded")),
    (re.compile(r"Payment by (\w+) disputed"), N_("payment by %(what)s disputed")),
    (
        re.compile(r"(Repays) a (?:payment that was taken back|reversed payment)"),
        N_("repays a reversed payment"),
    ),
    (re.compile(r"(Dispute) decided for you"), N_("dispute decided in your favour")),
    (re.compile(r"(Refund) that did not arrive"), N_("failed refund returned")),
    (re.compile(r"(Failed refund) returned"), N_("failed refund returned")),
)


def description(text: str) -> str:
    """Description of a ledger row; those stored by the gate in English are translated."""
    for pattern, label in _DESCRIPTIONS:
        found = pattern.fullmatch(text)
        if found is not None:
            what = found[1]
            return _(label, what=hours(int(what)) if what.isdigit() else what)
    return text


_PAYMENT_STATES = {
    "pending": N_("pending"),
    "succeeded": N_("paid"),
    "failed": N_("failed"),
    "expired": N_("expired"),
    "cancelled": N_("cancelled"),
    "refunded": N_("refunded"),
    "disputed": N_("disputed"),
}


def payment_state(status: str) -> str:
    """Name of a payment state."""
    return _(_PAYMENT_STATES.get(status, status))


def payment_states() -> list[tuple[str, str]]:
    """All payment states, for a filter."""
    return [(name, payment_state(name)) for name in _PAYMENT_STATES]


_NO_LONGER_SOLD = N_("Such tokens were no longer sold.")
_RENEWAL_REASONS = {
    "insufficient_balance": N_("The balance was too low."),
    "price_above_ceiling": N_("The price was above your limit."),
    "scope_not_allowed": N_("Your account may not buy tokens with this scope."),
    "too_late": N_("The gate was down for more than a day after the end."),
}


def renewal_reason(code: str) -> str:
    """Why a renewal failed, as a sentence."""
    return _(_RENEWAL_REASONS.get(code, _NO_LONGER_SOLD))


_PROVIDERS = {
    "manual": N_("Request an invoice"),
    "mock": N_("Simulate a payment (development)"),
    "stripe": N_("Pay by card"),
}


def provider(name: str) -> str:
    """Label of the button of a payment provider."""
    return _(_PROVIDERS[name]) if name in _PROVIDERS else name.capitalize()


_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("YaBrowser", "Yandex Browser"),
    ("Firefox", "Firefox"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
    ("curl", "curl"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def program(header: str | None) -> str:
    """Common name of a browser and its system; for other programs, the product name they send."""
    if not header:
        return _("unknown program")
    if header == OTHERS:
        return _("other devices")
    browser = next((name for mark, name in _BROWSERS if f"{mark}/" in header), None)
    system = next((name for mark, name in _SYSTEMS if mark in header), None)
    if browser and system:
        return pgettext("browser on system", "%(program)s on %(system)s") % {
            "program": browser,
            "system": system,
        }
    return browser or re.split(r"[\s/]", header, maxsplit=1)[0][:40] or _("unknown program")


_ACTIONS = {
    "user.registered": N_("Registered"),
    "user.signed_in": N_("Signed in"),
    "user.sign_in_failed": N_("Sign-in failed"),
    "user.signed_out": N_("Signed out"),
    "user.sign_ins_ended": N_("Ended other sign-ins"),
    "user.sign_in_moved": N_("Continued a sign-in in another browser or network"),
    "user.password_changed": N_("Changed the password"),
    "user.email_verified": N_("Confirmed the e-mail address"),
    "user.second_factor_on": N_("Switched two-step sign-in on"),
    "user.second_factor_off": N_("Switched two-step sign-in off"),
    "user.second_factor_failed": N_("Wrong code at sign-in"),
    "user.recovery_code_used": N_("Used a recovery code"),
    "user.recovery_codes_renewed": N_("Renewed the recovery codes"),
    "user.identity_connected": N_("Connected a sign-in with an identity provider"),
    "user.identity_removed": N_("Removed a sign-in with an identity provider"),
    "user.signed_out_by_provider": N_("Signed out at the identity provider"),
    "user.allowed_scopes_changed": N_("Changed the scopes that a user can buy"),
    "user.terms_accepted": N_("Accepted the terms of use"),
    "api_key.created": N_("Created an API key"),
    "api_key.revoked": N_("Revoked an API key"),
    "invitation.created": N_("Created an invitation"),
    "invitation.withdrawn": N_("Withdrew an invitation"),
    "user.changed": N_("Changed an account"),
    "user.promoted": N_("Granted administrator rights"),
    "user.demoted": N_("Removed administrator rights"),
    "user.credited": N_("Credited a balance"),
    "user.debited": N_("Debited a balance"),
    "user.deleted": N_("Deleted an account"),
    "user.reset_link_sent": N_("Sent a link for a new password"),
    "user.second_factor_link_sent": N_("Sent a link that switches two-step sign-in off"),
    "user.address_corrected": N_("Corrected an e-mail address"),
    "user.all_sign_ins_ended": N_("Ended all sign-ins of an account"),
    "user.note_changed": N_("Changed the note on an account"),
    "token.purchased": N_("Bought a token"),
    "token.issued": N_("Issued a token"),
    "token.revoked": N_("Revoked a token"),
    "renewal.on": N_("Switched the renewal of a token on"),
    "renewal.off": N_("Switched the renewal of a token off"),
    "renewal.renewed": N_("Token renewed"),
    "renewal.failed": N_("Renewal of a token failed"),
    "renewal.stopped": N_("Renewal of a revoked token stopped"),
    "session.ended": N_("Ended a session"),
    "offers.published": N_("Published offers"),
    "promo_code.created": N_("Created a promo code"),
    "promo_code.changed": N_("Changed a promo code"),
    "bundle.created": N_("Created a bundle"),
    "bundle.changed": N_("Changed a bundle"),
    "bundle.purchased": N_("Bought a bundle"),
    "order.opened": N_("Ordered with a payment"),
    "order.completed": N_("Order completed"),
    "order.failed": N_("Order failed"),
    "payment.opened": N_("Started a payment"),
    "payment.confirmed": N_("Confirmed a payment"),
    "payment.credited": N_("Payment received"),
    "payment.cancelled": N_("Cancelled a payment"),
    "payment.refund_asked": N_("Requested a refund"),
    "payment.refunded": N_("Payment refunded"),
    "payment.disputed": N_("Payment disputed"),
    "payment.dispute_won": N_("Dispute won"),
    "payment.amount_mismatch": N_("Payment amount mismatch"),
}


def audit_action(name: str) -> str:
    """Name of an audit action."""
    return _(_ACTIONS[name]) if name in _ACTIONS else name


def audit_actions() -> list[tuple[str, str]]:
    """All audit actions, for a filter."""
    return [(name, audit_action(name)) for name in _ACTIONS]


_RESOURCES = {
    "user": N_("account"),
    "token": N_("token"),
    "session": N_("session"),
    "page_session": N_("sign-in"),
    "bundle": N_("bundle"),
    "offers": N_("offers"),
    "promo_code": N_("promo code"),
    "order": N_("order"),
    "payment": N_("payment"),
    "invitation": N_("invitation"),
    "api_key": N_("API key"),
}


def audit_resource(kind: str) -> str:
    """Name of the resource type of an audit row."""
    return _(_RESOURCES[kind]) if kind in _RESOURCES else kind


def audit_resources() -> list[tuple[str, str]]:
    """All resource types, for a filter."""
    return [(name, audit_resource(name)) for name in _RESOURCES]


_DETAILS = {
    "allowed": N_("allowed scopes"),
    "api_key": N_("API key"),
    "amount": N_("amount"),
    "before": N_("before"),
    "cost": N_("price"),
    "count": N_("count"),
    "currency": N_("currency"),
    "description": N_("description"),
    "discount": N_("discount"),
    "duration_hours": N_("duration"),
    "email": N_("e-mail address"),
    "note": N_("note"),
    "terms": N_("terms of use"),
    "is_active": N_("active"),
    "is_superuser": N_("administrator"),
    "missing": N_("shortfall"),
    "effective_from": N_("in force from"),
    "name": N_("name"),
    "number": N_("number"),
    "paid": N_("paid"),
    "permissions": N_("permissions"),
    "price": N_("price"),
    "prices": N_("prices"),
    "provider": N_("provider"),
    "reason": N_("reason"),
    "refund": N_("refund"),
    "returned": N_("returned"),
    "scope": N_("scope"),
    "scopes": N_("prices with a scope"),
    "taken": N_("deducted"),
    "token_count": N_("tokens"),
    "tokens": N_("tokens"),
    "type": N_("type"),
}
_AUDIT_REASONS = {
    **_RENEWAL_REASONS,
    "stopped_by_owner": N_("The owner stopped it."),
    "token_revoked": N_("The token was revoked."),
    "not_found": _NO_LONGER_SOLD,
    "invalid_duration": _NO_LONGER_SOLD,
}
_AMOUNTS = frozenset({"amount", "cost", "missing", "price", "refund", "returned", "taken"})


def audit_detail(name: str, value: object) -> tuple[str, str]:
    """Name and value of one detail of an audit row, for the reader."""
    return _(_DETAILS[name]) if name in _DETAILS else name, _detail_value(name, value)


def _detail_value(name: str, value: object) -> str:
    if value is None:
        return _("now") if name == "effective_from" else "—"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if name in ("prices", "scopes") and isinstance(value, dict):
        return ", ".join(f"{_price_key(key)}: {_prices(one)}" for key, one in value.items()) or "—"
    if name == "duration_hours" and isinstance(value, int):
        return hours(value)
    return _detail_text(name, str(value))


def _detail_text(name: str, text: str) -> str:
    if name in _AMOUNTS:
        return _amount(text)
    match name:
        case "scope":
            return scope_text(text, {})[0]
        case "type":
            return transaction_type(text)
        case "reason" if text in _AUDIT_REASONS:
            return _(_AUDIT_REASONS[text])
        case "prices" if text == "settings":
            return _("those of the settings")
        case "effective_from":
            return _moment(text)
        case _:
            return text


def _amount(text: str) -> str:
    try:
        return money(Decimal(text))
    except InvalidOperation:
        return text


def _moment(text: str) -> str:
    try:
        return when(datetime.fromisoformat(text)).striptags()
    except ValueError:
        return text


def _price_key(key: str) -> str:
    """A duration in hours, or a scope."""
    return hours(int(key)) if key.isdigit() else scope_text(key, {})[0]


def _prices(value: object) -> str:
    """A price, ``off``, or the prices of a scope by duration."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{_price_key(k)}: {_prices(v)}" for k, v in value.items()) + ")"
    return _("not on sale") if value == OFF else _amount(str(value))
