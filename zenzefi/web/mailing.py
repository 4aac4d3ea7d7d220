"""Pages and letters of e-mail: confirming an address, and a forgotten password."""

from __future__ import annotations

from email.message import EmailMessage

from aiohttp import web

from zenzefi import i18n
from zenzefi.accounts.identity import User
from zenzefi.accounts.links import LINKS, Purpose
from zenzefi.accounts.schemas import ProfileChange
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.config import SETTINGS
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.mail.courier import COURIER, letter
from zenzefi.web.forms import Form
from zenzefi.web.page import Access, Page, Routes

routes = Routes(access=Access.ANYONE)


def is_on(page: Page) -> bool:
    """Whether this gate sends e-mail."""
    return COURIER in page.request.app


# --- confirming an address


def send_confirmation(page: Page, user: User) -> None:
    """Post the letter with the link; nothing where there is no mail."""
    if not is_on(page):
        return
    links, origin, context = (
        page.request.app[LINKS],
        page.request.app[SETTINGS].public_origin,
        i18n.current(),
    )

    async def write() -> EmailMessage | None:
        secret = await links.issue(user, Purpose.VERIFY)
        if secret is None:
            return None
        with i18n.using(context):
            return letter(
                user.email,
                _("Please confirm your e-mail address"),
                _(
                    "Hello %(name)s,\n\nopen this link within an hour to confirm your address:\n"
                    "%(link)s\n\nIf you did not register, ignore this e-mail.\n",
                    name=user.username,
                    link=f"{origin}/register/confirm?link={secret}",
                ),
            )

    page.request.app[COURIER].post(write)


@routes.get("/register/confirm")
async def confirm_form(page: Page) -> web.StreamResponse:
    """A button: programs that look into letters follow links, and must not use them up."""
    return page.render("confirm_address.html", link=page.request.query.get("link", "")[:100])


@routes.post("/register/confirm")
async def confirm(page: Page) -> web.StreamResponse:
    """Confirm the address."""
    form = await page.form()
    target = "/login" if page.visitor is None else "/account/profile"
    try:
        await page.request.app[LINKS].confirm_address(page.actor, form.raw("link"))
    except NotFound:
        page.flash("bad", _("This link is too old or was used already. Ask for a new one."))
    else:
        page.flash("good", _("Your e-mail address is confirmed."))
    return page.redirect(target)


@routes.post("/account/profile/confirm", access=Access.SIGNED_IN)
async def confirm_again(page: Page) -> web.StreamResponse:
    """Send the link once more."""
    _require_mail(page)
    if await page.request.app[LINKS].enough(page.user, Purpose.VERIFY):
        page.flash(
            "bad",
            _(
                "You have already asked for several e-mails. Check "
                "your spam folder, or wait an hour."
            ),
        )
        return page.redirect("/account/profile")
    send_confirmation(page, page.user)
    page.flash("info", _("An e-mail is on its way to %(email)s.", email=page.user.email))
    return page.redirect("/account/profile")


# --- what a thief would do is told to the owner


def tell_of_password(request: web.Request, user: User) -> None:
    """The password was changed, on a page or over the API."""
    with i18n.using(i18n.context_of(request)):
        subject = _("Your password was changed")
        _tell(request.app, user, subject, _("the password of your account was changed"))


def tell_of_second_factor(page: Page, user: User, *, switched_on: bool) -> None:
    """Two-step sign-in was switched."""
    if switched_on:
        _tell(
            page.request.app,
            user,
            _("Two-step sign-in is on"),
            _("two-step sign-in was switched on for your account"),
        )
    else:
        _tell(
            page.request.app,
            user,
            _("Two-step sign-in is off"),
            _("two-step sign-in was switched off for your account"),
        )


def _tell(app: web.Application, user: User, subject: str, what: str) -> None:
    if COURIER not in app:
        return
    text = _(
        "Hello %(name)s,\n\n%(what)s.\n\nIf that was you, there is nothing to do. If it was not,"
        " choose a new password at once:\n%(link)s\n",
        name=user.username,
        what=what,
        link=f"{app[SETTINGS].public_origin}/login/forgotten",
    )

    async def write() -> EmailMessage:
        return letter(user.email, subject, text)

    app[COURIER].post(write)


# --- a forgotten password


@routes.get("/login/forgotten")
async def forgotten_form(page: Page) -> web.StreamResponse:
    """Ask for the address."""
    _require_mail(page)
    return page.render("forgotten.html", form=Form(), sent=False)


@routes.post("/login/forgotten")
async def forgotten(page: Page) -> web.StreamResponse:
    """Post the letter. The answer is the same, at once, whether there is such an account or not."""
    _require_mail(page)
    form = await page.form()
    address = form.text("email")[:254]
    if not address:
        form.fail("email", _("Please fill this in."))
        return page.render("forgotten.html", status=422, form=form, sent=False)
    links, origin, context = (
        page.request.app[LINKS],
        page.request.app[SETTINGS].public_origin,
        i18n.current(),
    )

    async def write() -> EmailMessage | None:
        user = await links.find_user(address)
        secret = None if user is None else await links.issue(user, Purpose.RESET)
        if user is None or secret is None:
            return None
        with i18n.using(context):
            return letter(
                user.email,
                _("A new password"),
                _(
                    "Hello %(name)s,\n\nopen this link within an hour to choose a new password:\n"
                    "%(link)s\n\nIf you did not ask for it, ignore this e-mail: nothing changes.\n",
                    name=user.username,
                    link=f"{origin}/login/reset?link={secret}",
                ),
            )

    page.request.app[COURIER].post(write)
    return page.render("forgotten.html", form=form, sent=True)


@routes.get("/login/reset")
async def reset_form(page: Page) -> web.StreamResponse:
    """Choose a new password."""
    _require_mail(page)
    return page.render("reset.html", form=Form(), link=page.request.query.get("link", "")[:100])


@routes.post("/login/reset")
async def reset(page: Page) -> web.StreamResponse:
    """Set the new password: every sign-in of the account ends."""
    _require_mail(page)
    form = await page.form()
    link = form.raw("link")[:100]
    change = form.read(ProfileChange, "password")
    if change is None:
        return page.render("reset.html", status=422, form=form, link=link)
    try:
        user_id = await page.request.app[LINKS].spend(Purpose.RESET, link)
    except NotFound:
        page.flash("bad", _("This link is too old or was used already. Ask for a new one."))
        return page.redirect("/login/forgotten")
    user = await page.request.app[ACCOUNTS].change(page.actor, user_id, password=change.password)
    tell_of_password(page.request, user)
    page.flash("good", _("The new password is set. Log in with it now."))
    return page.redirect("/login")


def _require_mail(page: Page) -> None:
    if not is_on(page):
        raise NotFound
