"""Error pages: the texts, by error code, and the link to continue with.

Two places show them. :meth:`zenzefi.web.page.PageContext.error_page` shows the error of an account
page, in the frame of the account pages. :mod:`zenzefi.http.error_responses` shows any other error
of a navigation on a self-contained page, because such a page can replace a page of the upstream,
even at the upstream's own origin; its links are therefore absolute URLs of the gate.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi import i18n
from zenzefi.errors import GateError
from zenzefi.http.error_responses import ErrorPageText
from zenzefi.http.head_limits import HeadersTooLarge
from zenzefi.i18n import N_, remaining
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.web.page_security import own_path

_TEXTS: dict[str, tuple[str, str]] = {
    "not_found": (
        N_("Page not found"),
        N_("The address may be mistyped, or the page no longer exists."),
    ),
    "rate_limited": (
        N_("Too many attempts"),
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
            "This browser can't isolate your account from the application's scripts. Use a"
            " current browser, and the address that the operator gave you."
        ),
    ),
    "cookies_needed": (
        N_("Please allow cookies"),
        N_("This page needs cookies. Allow them for this site and open the page again."),
    ),
    "not_superuser": (
        N_("For administrators only"),
        N_("Your account does not have access to this page."),
    ),
    "registration_closed": (
        N_("Registration is closed"),
        N_("New accounts are created by the operator of this gate. Ask them for one."),
    ),
    "invitation_required": (
        N_("You need an invitation"),
        N_("Only people with a valid invitation link can register. Ask the operator for one."),
    ),
    "identity_provider_unavailable": (
        N_("The identity provider can't be reached"),
        N_("Try to sign in again in a moment."),
    ),
    "provider_sign_in_rejected": (
        N_("The sign-in failed"),
        N_("Something about the identity provider's response was wrong. Start the sign-in again."),
    ),
    "provider_sign_in_cancelled": (
        N_("You are not signed in"),
        N_("The sign-in at the identity provider was cancelled. You can start it again."),
    ),
    "provider_address_not_verified": (
        N_("Your e-mail address is not verified"),
        N_(
            "Verify your address at the identity provider and sign in again. If you have an account"
            " here, sign in to it as before and connect the identity provider on your profile page."
        ),
    ),
    "provider_creates_no_account": (
        N_("You have no account here"),
        N_("Accounts are created by the operator of this gate. Ask them for one."),
    ),
    "mail_domain_refused": (
        N_("Addresses of this mail domain can't register here"),
        N_("Sign in with an address that the operator of this gate accepts."),
    ),
    "password_sign_in_off": (
        N_("Passwords are not accepted here"),
        N_("Sign in with the identity provider: its button is on the sign-in page."),
    ),
    "scope_not_allowed": (
        N_("Your account can't buy this scope"),
        N_("Ask the operator of this gate, or choose another scope."),
    ),
    "address_not_confirmed": (
        N_("Please confirm your e-mail address"),
        N_("Open the link that was sent to your address. Then you can use your account."),
    ),
    "insufficient_balance": (
        N_("The balance is too low"),
        N_("Top up your balance, then buy the token."),
    ),
    "idempotency_in_flight": (
        N_("Already in progress"),
        N_("The same purchase is being made right now. Look at your tokens in a moment."),
    ),
    "conflict": (
        N_("That has changed in the meantime"),
        N_("Open the page again to see the current state."),
    ),
    "payload_too_large": (
        N_("Form too large"),
        N_("The form is larger than the gate accepts."),
    ),
    "uri_too_long": (
        N_("This address is too long"),
        N_("Shorten the address, or open the page from its beginning."),
    ),
    "headers_too_large": (
        N_("Too many cookies"),
        N_(
            "Your browser sends more cookies with this site's pages than the gate accepts. Remove"
            " the site's cookies to continue. You will be signed out and can then sign in again."
        ),
    ),
    "token_missing": (
        N_("You need a token here"),
        N_("Open the application from your account with one of your tokens."),
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
        N_("This sign-in link is no longer valid"),
        N_("It has expired or was already used. Open the application from your account."),
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
        N_("The token is unknown. Open the application from your account."),
    ),
    "token_expired": (
        N_("Your access has expired"),
        N_("The token has expired. Use another token from your account, or buy a new one."),
    ),
    "token_revoked": (
        N_("This token was revoked"),
        N_("It no longer works. Use another token from your account, or buy a new one."),
    ),
    "scope_refused": (
        N_("Outside the scope of your token"),
        N_("This token does not cover this page. Buy a token with a wider scope."),
    ),
    "unasked_request": (
        N_("Your browser requested this by itself"),
        N_("Nothing was opened, and the time of your token has not started."),
    ),
    "device_conflict": (
        N_("In use on another device"),
        N_(
            "Release the device on the token's page, or wait until it has been idle for five"
            " minutes."
        ),
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
    "plugin_failed": (
        N_("Not available right now"),
        N_("This request can't be checked at present. Try again in a moment."),
    ),
    "plugin_page_failed": (
        N_("This page does not work right now"),
        N_(
            "Something went wrong on our side. Try again; if it keeps happening, send us the "
            "request ID below."
        ),
    ),
    "upstream_busy": (
        N_("Too busy right now"),
        N_("All connections to the application are in use. Try again in a moment."),
    ),
    "too_many_connections": (
        N_("Too many open connections"),
        N_("This token has too many requests or live connections open. Close some and try again."),
    ),
    "device_required": (
        N_("Desktop client required"),
        N_("This gate accepts desktop clients only. Connect with the client from your account."),
    ),
    "internal_error": (
        N_("Something went wrong"),
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
_DEFAULT = (
    N_("That did not work"),
    N_("Nothing was changed. Try again; if it keeps happening, send us the request ID below."),
)


def text(error: GateError) -> tuple[str, str] | None:
    """Title and text for an error, by its code, else by its status; ``None`` if neither is known.

    The text of a rate limit includes the time to wait (``Retry-After``).
    """
    found = _TEXTS.get(error.code) or _TEXTS.get(_BY_STATUS.get(error.status, ""))
    if found is None:
        return None
    wait = error.headers.get("Retry-After", "")
    if error.status == 429 and found is not _TEXTS["too_many_connections"] and wait.isdigit():
        return _(found[0]), _(
            "There were too many attempts in a short time. Try again in %(time)s.",
            time=remaining(int(wait)),
        )
    return _(found[0]), _(found[1])


def text_or_default(error: GateError) -> tuple[str, str]:
    """Title and text for any error."""
    return text(error) or (_(_DEFAULT[0]), _(_DEFAULT[1]))


def page_text(request: web.BaseRequest, error: GateError) -> ErrorPageText | None:
    """Texts and link of the self-contained page, in the language of the request.

    ``None`` if the error has no text here, or the request was not routed.
    """
    if not isinstance(request, web.Request):
        return None
    with i18n.using(i18n.context_of(request)) as context:
        found = text(error)
        if found is None:
            return None
        title, detail = found
        href, link = _link(request, error)
        return ErrorPageText(
            language=context.language,
            title=title,
            detail=detail,
            href=href,
            link=link,
            button=_("Remove the cookies") if isinstance(error, HeadersTooLarge) else "",
            request=_("Request ID"),
        )


def _link(request: web.Request, error: GateError) -> tuple[str, str]:
    """URL and text of the link to continue with; empty strings if there is none."""
    origin = request.config_dict[SETTINGS].public_origin
    if error.status in (401, 403, 404, 409):
        return f"{origin}/account", _("My tokens")
    path = own_path(request.path, "")
    if error.status == 429 and path:
        return f"{origin}{path}", _("Back to the form")
    return "", ""
