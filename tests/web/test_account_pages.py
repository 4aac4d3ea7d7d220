"""The account pages over HTTP: registering, signing in, the profile, and cross-site protection."""

from __future__ import annotations

import re

import pytest

from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import PASSWORD, Visitor

HOSTILE = '"><script>alert(1)</script>{{7*7}}'


async def test_the_front_page_is_html_for_browsers_and_json_for_programs(gate: GateClient) -> None:
    response = await gate.get("/", headers={"Accept": "application/json"})
    assert (await response.json())["docs"] == "/docs"
    visitor = await Visitor(gate).open("/")
    assert visitor.status == 200
    assert "Create an account" in visitor.text
    assert "1 hour" in visitor.text


async def test_registering_signs_in_and_welcomes(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    assert visitor.status == 200
    assert "Welcome!" in visitor.text
    assert "No tokens yet" in visitor.text
    await visitor.open("/account")
    assert "Welcome!" not in visitor.text


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_closed_registration_has_no_links_and_no_form(
    make_gate: MakeGate, language: str
) -> None:
    visitor = Visitor(await make_gate(registration="closed"), language)
    for path in ("/", "/login"):
        await visitor.open(path)
        assert visitor.status == 200
        assert "/register" not in visitor.html
    await visitor.open("/register")
    assert visitor.status == 403
    assert {"en": "Registration is closed", "ru": "Регистрация закрыта"}[language] in visitor.text


async def test_a_form_with_mistakes_says_so_beside_the_fields_and_keeps_what_was_typed(
    gate: GateClient,
) -> None:
    visitor = await Visitor(gate).open("/register")
    await visitor.send("/register", email="nobody", username=HOSTILE[:20], password="secret7")
    assert visitor.status == 422
    email = visitor.soup.find(id="f-email")
    assert email["value"] == "nobody"
    assert email["aria-invalid"] == "true"
    assert visitor.soup.find(id=email["aria-describedby"]).get_text(strip=True)
    assert visitor.soup.find(id="f-username")["value"] == HOSTILE[:20]
    assert "secret7" not in visitor.html


async def test_an_address_or_name_that_is_taken_is_said_beside_the_field(gate: GateClient) -> None:
    await Visitor(gate).register("marta")
    other = await Visitor(gate).open("/register")
    await other.send("/register", email="MARTA@example.com", username="someone", password=PASSWORD)
    assert "An account with this address already exists." in other.text
    await other.send("/register", email="x@example.com", username="Marta", password=PASSWORD)
    assert "That username is taken." in other.text


async def test_a_wrong_password_and_an_unknown_address_get_the_same_response(
    gate: GateClient,
) -> None:
    await Visitor(gate).register("marta")
    wrong = await Visitor(gate).login("marta", "not the password")
    unknown = await Visitor(gate).login("nobody", "not the password")
    assert wrong.status == unknown.status == 422
    assert wrong.text == unknown.text
    assert "is incorrect" in wrong.text


async def test_signing_in_makes_a_new_secret_and_logging_out_ends_it(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    first = visitor.cookies["zenzefi_session"]
    await visitor.send("/logout")
    assert "You are signed out." in visitor.text
    assert "zenzefi_session" not in visitor.cookies
    stolen = Visitor(gate, cookies={"zenzefi_session": first})
    await stolen.open("/account", follow=False)
    assert stolen.location.startswith("/login")
    planted = Visitor(gate, cookies={"zenzefi_session": first})
    await planted.login()
    assert planted.cookies["zenzefi_session"] != first


async def test_signing_in_ends_the_session_that_the_browser_had(gate: GateClient) -> None:
    boris = await Visitor(gate).register("boris")
    marta = await Visitor(gate).register()
    planted = boris.cookies["zenzefi_session"]
    marta.cookies["zenzefi_session"] = planted
    await marta.open("/account")
    await marta.send("/login", email="marta@example.com", password=PASSWORD)
    assert marta.cookies["zenzefi_session"] != planted
    await boris.open("/account", follow=False)
    assert boris.location.startswith("/login")


async def test_a_page_for_users_leads_to_the_login_and_back(gate: GateClient) -> None:
    await Visitor(gate).register()
    visitor = await Visitor(gate).open("/account/buy?hours=1", follow=False)
    assert visitor.status == 303
    await visitor.open(visitor.location)
    wanted = visitor.soup.find("input", attrs={"name": "next"})["value"]
    assert wanted == "/account/buy?hours=1"
    await visitor.send(
        "/login", follow=False, email="marta@example.com", password=PASSWORD, next=wanted
    )
    assert visitor.location == "/account/buy?hours=1"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_the_login_leads_to_no_other_site(gate: GateClient, target: str) -> None:
    await Visitor(gate).register()
    visitor = await Visitor(gate).open("/login")
    await visitor.send(
        "/login", follow=False, email="marta@example.com", password=PASSWORD, next=target
    )
    assert visitor.location == "/account"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Origin": "https://evil.example"},
        {"Referer": "http://{host}/api/v1/proxy/page"},
    ],
)
async def test_forms_from_elsewhere_change_nothing(
    gate: GateClient, headers: dict[str, str]
) -> None:
    visitor = await Visitor(gate).register()
    host = f"{gate.host}:{gate.port}"
    sent = {name: value.replace("{host}", host) for name, value in headers.items()}
    await visitor.send("/account/buy", follow=False, headers=sent, duration_hours="1", once="x")
    assert visitor.status == 403
    await visitor.open("/account")
    assert "No tokens yet" in visitor.text


async def test_a_form_without_its_token_changes_nothing(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    stranger = await Visitor(gate).open("/login")
    for token in ("", "0" * 80, stranger.csrf):
        await visitor.send("/account/buy", csrf=token, duration_hours="1", once="x")
        assert visitor.status == 403
        assert "open for too long" in visitor.text or "try that again" in visitor.text.lower()
    await visitor.open("/account")
    assert "No tokens yet" in visitor.text


async def test_a_script_of_the_same_origin_reads_no_page(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    response = await gate.get(
        "/account",
        headers={"Cookie": cookie, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    )
    assert response.status == 403
    assert "csrf" not in await response.text()


async def test_every_page_is_private_and_locked_down(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    for path in ("/", "/account", "/account/buy", "/account/profile", "/account/connect"):
        await visitor.open(path)
        assert visitor.status == 200
        assert visitor.headers["Cache-Control"] == "no-store"
        assert visitor.headers["X-Frame-Options"] == "DENY"
        assert visitor.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "style=" not in visitor.html
        assert not re.search(r"\son\w+=", visitor.html)
        for script in visitor.soup.find_all("script"):
            assert script["src"].startswith("/account/assets/")


async def test_behind_https_the_session_cookie_is_bound_to_the_host(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, backend_url="https://gate.example")
    visitor = await Visitor(gate).open("/register")
    await visitor.send(
        "/register", follow=False, email="a@b.example", username="marta", password=PASSWORD
    )
    cookie = next(value for name, value in visitor.headers.items() if name == "Set-Cookie")
    assert visitor.cookies["__Host-Http-zenzefi_session"]
    for word in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert word in cookie
    assert "Domain" not in cookie


async def test_the_switch_changes_the_language_and_comes_back(gate: GateClient) -> None:
    visitor = await Visitor(gate, language="ru").register()
    assert visitor.soup.html["lang"] == "ru"
    assert "Токенов пока нет" in visitor.text
    await visitor.open("/account/profile")
    await visitor.send("/account/language", language="en", next="/account/profile")
    assert visitor.soup.html["lang"] == "en"
    assert visitor.soup.h1.get_text() == "Profile"
    await visitor.send("/account/language", language="xx", next="//evil.example")
    assert visitor.soup.html["lang"] == "en"


async def test_a_new_password_ends_all_other_sign_ins(gate: GateClient) -> None:
    here = await Visitor(gate).register()
    there = await Visitor(gate).login()
    await here.open("/account/profile")
    await here.send("/account/profile/password", current="wrong", password="another long one")
    assert here.status == 422
    assert "This is not your current password." in here.text
    await here.send("/account/profile/password", current=PASSWORD, password="another long one")
    assert "The password is changed." in here.text
    await there.open("/account", follow=False)
    assert there.location.startswith("/login")
    assert (await Visitor(gate).login("marta", "another long one")).status == 200


async def test_sign_ins_are_listed_and_ended(gate: GateClient) -> None:
    here = await Visitor(gate).register()
    there = await Visitor(gate).login()
    third = await Visitor(gate).login()
    await here.open("/account/profile")
    buttons = here.soup.select('form[action^="/account/sign-ins/"][action$="/end"]')
    assert len(buttons) == 2
    await here.send(buttons[0]["action"])
    assert "That sign-in has ended." in here.text
    await here.send("/account/sign-ins/end-others")
    for other in (there, third):
        await other.open("/account", follow=False)
        assert other.location.startswith("/login")
    await here.open("/account")
    assert here.status == 200


async def test_a_sign_in_of_another_user_cannot_be_ended(gate: GateClient) -> None:
    marta = await Visitor(gate).register("marta")
    await Visitor(gate).login("marta")
    await marta.open("/account/profile")
    action = marta.soup.select('form[action^="/account/sign-ins/"][action$="/end"]')[0]["action"]
    boris = await Visitor(gate).register("boris")
    await boris.send(action)
    await marta.open("/account/profile")
    assert action in marta.html


async def test_an_invalid_token_id_in_the_path_gets_the_not_found_page(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    await visitor.open("/account/tokens/not-an-id")
    assert visitor.status == 404
    assert "Page not found" in visitor.text


async def test_the_front_page_names_the_application_but_never_the_upstreams_address(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    named = await make_gate(zenzefi_target_url=upstream.origin, application_name="Lantern & Tide")
    page = await (await named.get("/", headers={"Accept": "text/html"})).text()
    assert "Lantern &amp; Tide" in page
    assert upstream.origin.partition("//")[2] not in page


async def test_without_a_name_the_front_page_keeps_the_upstreams_address_to_itself(
    gate: GateClient, upstream: RecordingUpstream
) -> None:
    page = await (await gate.get("/", headers={"Accept": "text/html"})).text()
    assert upstream.origin.partition("//")[2] not in page


async def test_an_error_page_of_the_proxy_is_in_the_visitors_language(
    gate: GateClient,
) -> None:
    visitor = await Visitor(gate, language="ru").open("/api/v1/proxy/page")
    assert visitor.status == 401
    assert visitor.soup.html["lang"] == "ru"
    assert "Здесь нужен токен" in visitor.text
    assert visitor.soup.select_one("main a")["href"].endswith("/account")
    assert "script" not in visitor.headers["Content-Security-Policy"]
    visitor = await Visitor(gate).open("/no-such-page")
    assert visitor.status == 404
    assert "Page not found" in visitor.text
