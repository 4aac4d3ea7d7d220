"""Pages about personal data: the download, and the deletion of the account."""

from __future__ import annotations

from aiohttp import web

from zenzefi.admin.service import LastAdministrator
from zenzefi.i18n import gettext as _
from zenzefi.personal_data.deletion import DELETIONS
from zenzefi.personal_data.export import EXPORTS
from zenzefi.personal_data.views import DOWNLOAD_HEADERS
from zenzefi.proxy.setup import GATE
from zenzefi.web import confirmation
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.profile import confirm_code, confirm_password
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/profile")

_PATH = "/account/profile/data"


def _page(page: PageContext, form: Form, *, status: int = 200) -> web.Response:
    return page.render("account/my_data.html", status=status, form=form)


@routes.get(_PATH)
async def my_data(page: PageContext) -> web.StreamResponse:
    """Links to the download, and the form that deletes the account."""
    return _page(page, Form())


@routes.get(_PATH + "/download")
async def download(page: PageContext) -> web.StreamResponse:
    """The zip file."""
    return web.Response(
        body=page.request.app[EXPORTS].download(page.user.id), headers=DOWNLOAD_HEADERS
    )


@routes.post(_PATH + "/delete")
async def delete(page: PageContext) -> web.StreamResponse:
    """Delete the account, after the password and a code."""
    form = await page.form()
    if form.text("sure") != "yes":
        form.fail("sure", _("Please confirm that the account is to be deleted."))
    if await confirm_password(page, form) and form.ok:
        await confirm_code(page, form)
    if not form.ok:
        return _page(page, form, status=422)
    try:
        await page.request.app[DELETIONS].delete(page.actor, page.user.id)
    except LastAdministrator:
        form.fail(
            "", _("This is the last administrator. Make another user an administrator first.")
        )
        return _page(page, form, status=422)
    page.signed_in_user = page.session = None
    page.flash("good", _("Your account is deleted."))
    response = page.redirect("/")
    page.signed_out(response)
    gate = page.request.app.get(GATE)
    if gate is not None:
        await gate.cookies.sign_out(page.request, response)
    return response


@routes.post("/admin/users/{id}/delete", access=PageAccess.ADMINISTRATOR, section="/admin")
async def delete_user(page: PageContext) -> web.StreamResponse:
    """Delete a user's account."""
    user_id = path_id(page)
    unconfirmed = await confirmation.ask(
        page, confirmation.delete_account(), back=f"/admin/users/{user_id}"
    )
    if unconfirmed is not None:
        return unconfirmed
    try:
        await page.request.app[DELETIONS].delete(page.actor, user_id)
    except LastAdministrator:
        page.flash(
            "bad", _("This is the last administrator. Make another user an administrator first.")
        )
        return page.redirect(f"/admin/users/{user_id}")
    page.flash("good", _("The account is deleted."))
    return page.redirect("/admin/users")
