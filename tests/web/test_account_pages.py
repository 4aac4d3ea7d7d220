"""The account pages over HTTP: registering, signing in, buying, revoking, and who may not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import PASSWORD, Visitor
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.models import device_claims
from zenzefi.tokens.sessions import SESSION_TRACKER

HOSTILE = '"><script>alert(1)</script>{{7*7}}'


async def test_the_front_page_is_html_for_people_and_json_for_programs(gate: GateClient) -> None:
    answer = await gate.get("/", headers={"Accept": "application/json"})
    assert (await answer.json())["docs"] == "/docs"
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


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(gate: GateClient) -> None:
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


async def test_a_token_is_bought_shown_named_and_revoked(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy(24)
    assert "Token bought." in visitor.text
    value = visitor.soup.find(id="token-value").get_text()
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", value)
    await visitor.send(f"{path}/name", name=HOSTILE)
    assert visitor.soup.h1.get_text() == HOSTILE
    assert "<script>alert" not in visitor.html
    await visitor.open("/account")
    assert "<script>alert" not in visitor.html
    assert "Ready" in visitor.text
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 200
    await visitor.open(f"{path}/revoke")
    await visitor.send(f"{path}/revoke")
    assert "The token is revoked." in visitor.text
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 401


async def test_the_refund_is_announced_before_the_token_is_revoked(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    from tests.kit.api import give

    gate = await make_gate(zenzefi_target_url=upstream.origin, token_price_24h="18.00")
    visitor = await Visitor(gate).register("alice")
    await visitor.open("/account/buy")
    await visitor.send("/account/buy", duration_hours="24", scope="full", once="x")
    assert visitor.status == 422
    assert "Top up 18.00" in visitor.text.replace("\xa0", " ")
    await give(gate, "20.00")
    path = await visitor.buy(24)
    await visitor.open(f"{path}/revoke")
    assert "18.00 ZNC will be refunded. Your balance will be 20.00 ZNC." in visitor.text.replace(
        "\xa0", " "
    )
    await visitor.send(f"{path}/revoke")
    assert "18.00 ZNC has been refunded" in visitor.text.replace("\xa0", " ")


async def test_the_same_purchase_sent_twice_buys_once(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    await visitor.open("/account/buy")
    for _ in range(2):
        await visitor.send(
            "/account/buy", follow=False, duration_hours="1", scope="full", once="one-and-only"
        )
        await visitor.open("/account/buy")
    await visitor.open("/account")
    assert len(visitor.soup.select(".ticket")) == 1


async def test_open_leads_a_browser_to_the_application(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, browser_mount="prefix")
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    await visitor.send(f"{path}/open", follow=False)
    assert visitor.status == 303
    assert visitor.location == "/api/v1/proxy/"
    answer = await gate.get(
        "/api/v1/proxy/hello",
        headers={"Cookie": f"zenzefi_access_token={visitor.cookies['zenzefi_access_token']}"},
    )
    assert answer.status == 200
    assert (await answer.json())["path"] == "/hello"
    await visitor.open("/account")
    assert "Active" in visitor.text


async def test_open_signs_a_browser_in_at_the_own_origin(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    await visitor.send(f"{path}/open", follow=False)
    start = "http://app.localhost:8000/.well-known/zenzefi/enter?"
    assert (visitor.status, visitor.location) == (
        303,
        f"{start}from=http://127.0.0.1:8000&path=/",
    )
    other = Visitor(gate)  # the same browser's cookies of the other host
    await other.open(visitor.location[21 + 5 :], follow=False, Host="app.localhost:8000")
    assert other.location.startswith("http://127.0.0.1:8000/.well-known/zenzefi/enter?browser=")
    await visitor.open(other.location[21:], follow=False)
    assert visitor.location.startswith(f"{start}ticket=")
    await other.open(visitor.location[26:], follow=False, Host="app.localhost:8000")
    assert (other.status, other.location) == (303, "/")
    await visitor.open("/account")
    assert "Active" not in visitor.text
    answer = await other.open("/hello", Host="app.localhost:8000")
    assert '"path": "/hello"' in answer.html
    await visitor.open("/account")
    assert "Active" in visitor.text


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_without_an_own_origin_open_says_what_to_set(
    make_gate: MakeGate, language: str
) -> None:
    gate = await make_gate(backend_url="http://gate.example")
    visitor = await Visitor(gate, language).register()
    path = await visitor.buy()
    await visitor.send(f"{path}/open", follow=False)
    assert visitor.status == 403
    assert "zenzefi_access_token" not in visitor.cookies
    assert {"PROXY_HOST", "PROXY_PORT"} <= set(visitor.text.replace(",", "").split())
    await visitor.open("/account/connect")
    assert "PROXY_HOST" in visitor.text
    assert visitor.soup.select('form[action$="/open"]') == []


async def test_the_owner_sees_who_uses_the_token_and_ends_it(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    headers = {"X-Access-Token": value, "User-Agent": "curl/8.0", "X-Device-ID": "d" * 20}
    assert (await gate.get("/api/v1/proxy/x", headers=headers)).status == 200
    await gate.app[SESSION_TRACKER].flush()
    await visitor.open(path)
    assert "A device is using this token" in visitor.text
    (form,) = visitor.soup.select("form[action$='/end']")
    other = await Visitor(gate).register("boris")
    await other.send(form["action"], follow=False)
    assert other.status == 404
    await visitor.send(form["action"])
    assert "The session has ended" in visitor.text
    assert visitor.soup.select("form[action$='/end']") == []
    assert (await gate.get("/api/v1/proxy/x", headers=headers)).status == 200  # it stays good


async def test_a_device_that_has_long_been_idle_is_not_said_to_hold_the_token(
    gate: GateClient,
) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    headers = {"X-Access-Token": value, "X-Device-ID": "d" * 20}
    assert (await gate.get("/api/v1/proxy/x", headers=headers)).status == 200
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(device_claims).values(last_seen_at=datetime.now(UTC) - timedelta(minutes=6))
        )
    await visitor.open(path)
    assert "No device is using this token" in visitor.text


async def test_how_to_connect_is_filled_in_with_the_own_token(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    await visitor.open("/account/connect")
    assert "You need a token first." in visitor.text
    path = await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    await visitor.open("/account/connect")
    for block in ("c-token", "c-curl", "c-ws", "c-status"):
        assert value in visitor.soup.find(id=block).get_text()
    # Other users of a machine can read the arguments of its programs.
    assert value not in visitor.soup.find(id="c-client").get_text()
    assert f"{path}/open" in visitor.html


async def test_another_users_token_does_not_exist(gate: GateClient) -> None:
    owner = await Visitor(gate).register("marta")
    path = await owner.buy()
    other = await Visitor(gate).register("boris")
    for action in ("", "/revoke"):
        await other.open(path + action)
        assert other.status == 404
    await other.open("/account")
    for action in ("/name", "/release", "/revoke", "/open"):
        await other.send(path + action, follow=False, csrf=other.csrf)
        assert other.status == 404, action
        await other.open("/account")
    await owner.open("/account")
    assert "Ready" in owner.text


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
    answer = await gate.get(
        "/account",
        headers={"Cookie": cookie, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    )
    assert answer.status == 403
    assert "csrf" not in await answer.text()


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


async def test_a_sign_in_of_somebody_else_can_not_be_ended(gate: GateClient) -> None:
    marta = await Visitor(gate).register("marta")
    await Visitor(gate).login("marta")
    await marta.open("/account/profile")
    action = marta.soup.select('form[action^="/account/sign-ins/"][action$="/end"]')[0]["action"]
    boris = await Visitor(gate).register("boris")
    await boris.send(action)
    await marta.open("/account/profile")
    assert action in marta.html


async def test_an_address_that_is_none_is_a_page_with_a_way_on(gate: GateClient) -> None:
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


async def test_a_refusal_on_the_way_through_speaks_the_visitors_language_and_leads_on(
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
