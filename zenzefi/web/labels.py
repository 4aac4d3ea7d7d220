"""What the pages say about errors, kinds and programs, in the reader's language."""

from __future__ import annotations

import re

from zenzefi.errors import GateError
from zenzefi.i18n import N_, hours, pgettext, remaining
from zenzefi.i18n import gettext as _
from zenzefi.tokens.sessions import OTHERS

_ERRORS: dict[str, tuple[str, str]] = {
    "not_found": (
        N_("There is nothing here"),
        N_("The address may be mistyped, or what it showed is gone."),
    ),
    "rate_limited": (
        N_("One moment, please"),
        N_("There were too many attempts in a short time. Wait a minute and try again."),
    ),
    "cross_site_refused": (
        N_("Please try that again"),
        N_(
            "This request did not come from one of the gate's "
            "pages. Open the page and send it again."
        ),
    ),
    "pages_need_https": (
        N_("This site needs HTTPS"),
        N_(
            "The operator has to set BACKEND_URL to an https:// address, or to give the application"
            " a separate address with PROXY_HOST or PROXY_PORT. Over plain HTTP the application"
            " could read your account."
        ),
    ),
    "browser_unsupported": (
        N_("Please use a current browser"),
        N_(
            "This browser can't keep your account apart from the application's scripts. Use a"
            " current browser, and the address that the operator gave you."
        ),
    ),
    "cookies_needed": (
        N_("Please allow cookies"),
        N_("This page needs cookies. Allow them for this site and open the page again."),
    ),
    "not_superuser": (
        N_("For administrators only"),
        N_("Your account may not open this page."),
    ),
    "insufficient_balance": (
        N_("The balance is too low"),
        N_("Top up your balance, then buy the token."),
    ),
    "idempotency_in_flight": (
        N_("Already on its way"),
        N_("The same purchase is being made right now. Look at your tokens in a moment."),
    ),
    "conflict": (
        N_("That has changed in the meantime"),
        N_("Open the page again to see how things stand now."),
    ),
    "payload_too_large": (
        N_("That is too much"),
        N_("The form is larger than the gate accepts."),
    ),
    "token_missing": (
        N_("You need a token here"),
        N_("Open the application from your account, with a token of yours."),
    ),
    "sign_in_required": (
        N_("Please open the application again"),
        N_(
            "This browser's sign-in has ended, or it was made in another browser or network. Open "
            "the application again from your account."
        ),
    ),
    "own_origin_required": (
        N_("Open the application from your account"),
        N_("This address is for programs. In a browser the application has another address."),
    ),
    "own_origin_missing": (
        N_("The application can't be opened in a browser yet"),
        N_(
            "There is no separate address at which your browser can open it. The operator of this "
            "gate must set PROXY_HOST to another host name, or PROXY_PORT to a second port, and "
            "BACKEND_URL to the address of these pages. Programs can use your token meanwhile."
        ),
    ),
    "sign_in_link_invalid": (
        N_("This sign-in link is not valid any more"),
        N_("It has expired or was used. Open the application from your account."),
    ),
    "browser_not_confirmed": (
        N_("This browser could not be signed in"),
        N_(
            "The sign-in was started in another browser, or this one did not keep its cookie. "
            "Allow cookies for this site, then open the application from your account."
        ),
    ),
    "token_invalid": (
        N_("This token does not work"),
        N_("It is not known here. Open the application from your account."),
    ),
    "token_expired": (
        N_("Your access has expired"),
        N_("The token has ended. Your account has others, or sells you the next one."),
    ),
    "token_revoked": (
        N_("This token was revoked"),
        N_("It no longer works. Open the application with another one."),
    ),
    "scope_refused": (
        N_("Outside the scope of your token"),
        N_("This token does not cover this page. Buy a token with a wider scope."),
    ),
    "device_conflict": (
        N_("In use on another device"),
        N_("Release the device on the token's page, or wait until it was idle for five minutes."),
    ),
    "upstream_unreachable": (
        N_("The application does not respond"),
        N_("The gate works, but the application can't be reached. Try again in a moment."),
    ),
    "upstream_timeout": (
        N_("The application takes too long"),
        N_("The gate works, but the application took too long to respond. Try again."),
    ),
    "upstream_failed": (
        N_("The application sent an invalid response"),
        N_("The gate works, but the application sent an invalid response. Try again in a moment."),
    ),
    "upstream_busy": (
        N_("Too busy right now"),
        N_("All connections to the application are in use. Try again in a moment."),
    ),
    "too_many_connections": (
        N_("Too much open at the same time"),
        N_("This token has too many requests or live connections open. Close some and try again."),
    ),
    "device_required": (
        N_("The gate needs to know the device"),
        N_("This gate accepts desktop clients only. Connect with the client from your account."),
    ),
    "internal_error": (
        N_("Something went wrong here"),
        N_(
            "Something went wrong on our side. Try again; if it keeps happening, send us the "
            "request ID below."
        ),
    ),
    "unavailable": (
        N_("Not available right now"),
        N_("The gate can't do this at the moment. Nothing was changed. Try again in a minute."),
    ),
}
_BY_STATUS = {
    404: "not_found",
    409: "conflict",
    429: "rate_limited",
    502: "upstream_failed",
    503: "unavailable",
}
_OTHER = (
    N_("That did not work"),
    N_("Nothing was changed. Try again; if it keeps happening, send us the request ID below."),
)


def known(error: GateError) -> tuple[str, str] | None:
    """A heading and a sentence for an error that people meet; ``None`` for all others."""
    found = _ERRORS.get(error.code) or _ERRORS.get(_BY_STATUS.get(error.status, ""))
    if found is None:
        return None
    wait = error.headers.get("Retry-After", "")
    if error.status == 429 and found is not _ERRORS["too_many_connections"] and wait.isdigit():
        return _(found[0]), _(
            "There were too many attempts in a short time. Try again in %(time)s.",
            time=remaining(int(wait)),
        )
    return _(found[0]), _(found[1])


def explain(error: GateError) -> tuple[str, str]:
    """A heading and a sentence for whatever ends a page."""
    return known(error) or (_(_OTHER[0]), _(_OTHER[1]))


_KINDS = {
    "deposit": N_("Top-up"),
    "purchase": N_("Purchase"),
    "refund": N_("Refund"),
    "bonus": N_("Bonus"),
    "adjustment": N_("Adjustment"),
}


def kind(transaction_type: str) -> str:
    """The name of a kind of transaction."""
    return _(_KINDS.get(transaction_type, transaction_type))


def kinds() -> list[tuple[str, str]]:
    """All kinds, for a filter."""
    return [("", _("Everything")), *((name, kind(name)) for name in _KINDS)]


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
        N_("repays a payment taken back"),
    ),
    (re.compile(r"(Dispute) decided for you"), N_("a dispute decided for you")),
    (re.compile(r"(Refund) that did not arrive"), N_("failed refund returned")),
    (re.compile(r"(Failed refund) returned"), N_("failed refund returned")),
)


def description(text: str) -> str:
    """What a ledger row says, which the gate wrote in English; others' words stay as they are."""
    for pattern, words in _DESCRIPTIONS:
        found = pattern.fullmatch(text)
        if found is not None:
            what = found[1]
            return _(words, what=hours(int(what)) if what.isdigit() else what)
    return text


_PAYMENT_STATES = {
    "pending": N_("waiting"),
    "succeeded": N_("paid"),
    "failed": N_("failed"),
    "expired": N_("expired"),
    "cancelled": N_("cancelled"),
    "refunded": N_("refunded"),
    "disputed": N_("disputed"),
}


def payment_state(status: str) -> str:
    """How a payment stands."""
    return _(_PAYMENT_STATES.get(status, status))


def payment_states() -> list[tuple[str, str]]:
    """All states of payments, for a filter."""
    return [(name, payment_state(name)) for name in _PAYMENT_STATES]


_PROVIDERS = {
    "manual": N_("Ask for an invoice"),
    "mock": N_("Pretend to pay (development)"),
    "stripe": N_("Pay by card"),
}


def provider(name: str) -> str:
    """What the button of a payment provider says."""
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


def agent(header: str | None) -> str:
    """A browser by the name people know; an unknown program by the first word of its own."""
    if not header:
        return _("unknown program")
    if header == OTHERS:
        return _("other devices")
    program = next((name for mark, name in _BROWSERS if f"{mark}/" in header), None)
    system = next((name for mark, name in _SYSTEMS if mark in header), None)
    if program and system:
        return pgettext("browser on system", "%(program)s on %(system)s") % {
            "program": program,
            "system": system,
        }
    return program or re.split(r"[\s/]", header, maxsplit=1)[0][:40] or _("unknown program")


_SCOPES = {
    "full": (N_("Everything"), N_("All pages and calls of the application.")),
    "certificates_only": (
        N_("Certificates only"),
        N_("Only what belongs to certificates; everything else is refused."),
    ),
}


def scope(name: str) -> tuple[str, str]:
    """Title and explanation of a scope; one that an operator declared keeps its own name."""
    if name in _SCOPES:
        title, note = _SCOPES[name]
        return _(title), _(note)
    return name.replace("_", " "), _("A part of the application, set up by its operator.")


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
    "user.recovery_codes_renewed": N_("Made new recovery codes"),
    "user.changed": N_("Changed an account's rights"),
    "user.promoted": N_("Made an administrator"),
    "user.demoted": N_("Took administration away"),
    "user.credited": N_("Credited a balance"),
    "token.purchased": N_("Bought a token"),
    "token.issued": N_("Issued a token"),
    "token.revoked": N_("Revoked a token"),
    "session.ended": N_("Ended a session"),
    "bundle.created": N_("Put a bundle on sale"),
    "bundle.changed": N_("Changed a bundle"),
    "bundle.purchased": N_("Bought a bundle"),
    "payment.opened": N_("Began a payment"),
    "payment.confirmed": N_("Confirmed a payment"),
    "payment.credited": N_("A payment arrived"),
    "payment.cancelled": N_("Cancelled a payment"),
    "payment.refund_asked": N_("Asked for a refund"),
    "payment.refunded": N_("A payment was refunded"),
    "payment.disputed": N_("A payment was disputed"),
    "payment.dispute_won": N_("A dispute was won"),
    "payment.amount_mismatch": N_("A payment had another amount"),
}


def action(name: str) -> str:
    """What happened, of an audit row."""
    return _(_ACTIONS[name]) if name in _ACTIONS else name


def actions() -> list[tuple[str, str]]:
    """All actions, for a filter."""
    return [(name, action(name)) for name in _ACTIONS]


_RESOURCES = {
    "user": N_("account"),
    "token": N_("token"),
    "session": N_("session"),
    "page_session": N_("sign-in"),
    "bundle": N_("bundle"),
    "payment": N_("payment"),
}


def resource(kind: str) -> str:
    """The kind of thing that an audit row is about."""
    return _(_RESOURCES[kind]) if kind in _RESOURCES else kind


def resources() -> list[tuple[str, str]]:
    """All kinds of things, for a filter."""
    return [(name, resource(name)) for name in _RESOURCES]
