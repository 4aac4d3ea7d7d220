"""The reference pages made of the program itself: settings, commands, metrics, errors.

``make docs`` writes them into ``docs/reference/``; a test fails when they tell another story.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

import zenzefi.app
from zenzefi.cli import main
from zenzefi.commands.hooks_reference import reference as hooks_page
from zenzefi.config import Settings
from zenzefi.errors import GateError
from zenzefi.ops import metrics
from zenzefi.ops.reload import RELOADABLE

MADE = "<!-- Made by `make docs`: change the program, not this page. -->\n"

# Grouped as an operator meets them; a test holds the names against Settings.
SETTINGS: dict[str, dict[str, str]] = {
    "The gate": {
        "debug": "Development: weak keys and the `mock` payment provider are accepted.",
        "secret_key": "What all keys are derived from. 32 characters or more (a weaker one is "
        "refused unless `BACKEND_URL` is this machine alone); on the embedded default it is made "
        "once and kept in `DATA_DIR`.",
        "previous_secret_keys": "Comma list. Keys of before, still good for reading: rotate by "
        "moving the old `SECRET_KEY` here.",
        "backend_url": "The origin at which browsers see the gate's own pages.",
        "data_dir": "SQLite file, certificates and keys of the embedded default.",
        "access_token_expire_minutes": "Life of a bearer token (JWT), in minutes.",
        "application_name": "What the pages call the application behind the gate.",
        "admin_two_factor": "Administrators must sign in with a second factor.",
        "mail_url": "`smtp://user:password@host:port` for address confirmation and password "
        "resets; without it both are off.",
        "mail_from": "The sender of these mails.",
    },
    "Database and Redis": {
        "database_url": "`postgresql://...` or `sqlite:///...`; or the `POSTGRES_*` parts; without "
        "both the embedded SQLite.",
        "postgres_server": "Host of PostgreSQL.",
        "postgres_port": "Its port.",
        "postgres_user": "Its user.",
        "postgres_password": "Its password.",
        "postgres_db": "Its database.",
        "database_pool_size": "Connections that one process keeps; it may open twice as many.",
        "redis_url": "`redis://...`; or the `REDIS_*` parts; without both an in-process cache.",
        "redis_host": "Host of Redis.",
        "redis_port": "Its port.",
        "redis_password": "Its password.",
        "redis_db": "Its database's number.",
    },
    "The upstream": {
        "zenzefi_target_url": "The origin of the application behind the gate. Without it the "
        "bundled demo site, on the embedded default only.",
        "zenzefi_target_aliases": "Comma list of other origins under which the application names "
        "itself.",
        "zenzefi_basic_auth_user": "Sent to the upstream with every request.",
        "zenzefi_basic_auth_password": "Likewise.",
        "zenzefi_verify_ssl": "Whether the upstream's certificate is verified.",
        "zenzefi_ca_file": "Authorities that may vouch for the upstream, as PEM.",
        "zenzefi_pinned_sha256": "The one certificate that is accepted, by its fingerprint.",
        "upstream_connect_timeout": "Timeout for opening an upstream connection, in seconds.",
        "upstream_read_timeout": "The longest silence of the upstream, in seconds.",
        "upstream_max_connections": "The most connections of one process to the upstream, for "
        "everything: requests, event streams, WebSockets and idle connections.",
        "upstream_connections_per_token": "How many of them one access token may use at once for "
        "requests, and how many for streams and WebSockets; at most half of either.",
        "upstream_long_lived_share": "The part of them that event streams, WebSockets and "
        "requests longer than ten seconds may hold; the rest is kept for short requests.",
        "upstream_queue_size": "Requests that may wait for a connection; one token may have half.",
        "upstream_queue_timeout": "Seconds that a request waits for a connection before 503.",
        "fast_lane": "Serve the common case with less machinery (docs/explanation/fast-path.md).",
    },
    "The way through": {
        "browser_mount": "Where a browser that signed in by cookie uses the application: "
        "`own-origin`, or `prefix` (`/api/v1/proxy/` on the origin of the gate's own pages, where "
        "a hostile application can attack them; over plain http the pages are then served on "
        "loopback only). Clients that send `X-Access-Token` use the prefix "
        "in any case.",
        "proxy_host": "The host (with port) at whose root the upstream is served: its own origin. "
        "Default: `app.localhost` with `BACKEND_URL`'s port if that is on loopback, else none.",
        "proxy_port": "A second port for the same, on `BACKEND_URL`'s host, where no other host "
        "name can be had. The process listens on it too. Browsers share cookies between ports.",
        "trusted_proxies": "Comma list of networks whose forwarded headers are believed.",
        "device_policy": "`off`, `optional` or `required`: one token, one device.",
        "scopes": "JSON: name to list of rules, each a path pattern (`*` within a segment, `**` "
        "across them) with optional methods in front: `GET,POST /reports/**`. `full` is built in.",
        "plugin_dir": "A folder of plugins, one file each.",
        "plugins_disabled": "Comma list of plugins that stay out.",
        "plugin_options": "JSON: plugin to its options.",
    },
    "Money": {
        "token_price_1h": "Price in ZNC; 0 is free.",
        "token_price_12h": "Likewise.",
        "token_price_24h": "Likewise.",
        "token_price_7d": "Likewise.",
        "token_price_30d": "Likewise.",
        "refund_used_tokens": "`nothing`, or `pro_rata`: what a used token gives back.",
        "payment_providers": "Comma list of `manual`, `mock` (needs `DEBUG`) and `stripe`.",
        "znc_to_rub_rate": "Roubles for one ZNC.",
        "stripe_secret_key": "Stripe's API key.",
        "stripe_webhook_secret": "Comma list of Stripe's signing secrets.",
        "stripe_api_base": "Another address for Stripe's API, for tests.",
    },
    "Operations": {
        "log_level": "`DEBUG`, `INFO`, `WARNING` or `ERROR`.",
        "log_format": "`auto` (pretty on a terminal, else JSON), `pretty` or `json`.",
        "access_log": "One line per request, written in batches.",
        "health_check_interval": "Seconds between background checks.",
        "drain_delay": "Seconds for which a draining node still takes connections, so that the "
        "load balancer notices first.",
        "drain_timeout": "Seconds that requests in flight get.",
        "metrics_listen": "`host:port` of a listener for `/metrics` alone; it then leaves the "
        "main port.",
        "tracing": "Spans by OpenTelemetry (the extra `opentelemetry`); the standard `OTEL_*` "
        "variables say where to.",
        "audit_retention_days": "Days after which rows of the audit log are deleted.",
        "session_retention_days": "Days after their last use after which sessions of access "
        "tokens are deleted, with their addresses and browsers.",
        "cors_api_origins": "Comma list of origins whose scripts may call the API.",
        "rate_limit_login": "Attempts to sign in with one account from one address. "
        "`10/minute;100/hour`, or `off`.",
        "rate_limit_login_address": "Failed attempts from one address, whatever the accounts. "
        "Unless set, ten times `RATE_LIMIT_LOGIN`.",
        "rate_limit_login_account": "Failed attempts at one account, whatever the addresses. "
        "Unless set, ten times `RATE_LIMIT_LOGIN`.",
        "rate_limit_code": "Wrong codes of two-step sign-in, per account and address.",
        "rate_limit_code_account": "Wrong codes for one account, whatever the addresses. Unless "
        "set, three times `RATE_LIMIT_CODE`.",
        "rate_limit_register": "Registrations per address.",
        "rate_limit_api": "API calls per user.",
        "rate_limit_release": "Releases of a token's device, by its owner.",
        "rate_limit_proxy": "Requests through the gate per token.",
        "rate_limit_websocket_messages": "Frames that browsers send over WebSockets, per token. "
        "One too many closes them with code 4429.",
        "rate_limit_websocket_bytes": "Bytes that browsers send over WebSockets, per token: "
        "`10000000/minute`. Likewise.",
    },
}


def settings_page() -> str:
    """``docs/reference/settings.md``."""
    lines = [
        "# Settings",
        "",
        MADE,
        "From the environment, or from `.env` in the current folder. `NAME_FILE` names a file that "
        "holds the",
        "value of any of them, as container platforms mount secrets. `zenzefi check` tests them "
        "against the real",
        "database, Redis and upstream. Those marked ↻ take effect on SIGHUP.",
    ]
    for group, fields in SETTINGS.items():
        lines += ["", f"## {group}", "", "| setting | default | meaning |", "|---|---|---|"]
        for name, meaning in fields.items():
            mark = " ↻" if name in RELOADABLE else ""
            lines.append(f"| `{name.upper()}`{mark} | {_default(name)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(name: str) -> str:
    if name == "data_dir":
        return "a folder of the user's"
    value: Any = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is PydanticUndefined or value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value) if isinstance(value, list) else value}`"


def commands_page() -> str:
    """``docs/reference/commands.md``."""
    lines = ["# Commands", "", MADE]
    lines += [
        "Every command explains itself with `--help`. Secrets are asked for, or come from the",
        "environment or the standard input; never from arguments, which other users can read.",
        "",
        "Exit codes: 0 done, 1 it did not work, 2 wrong usage, 3 a setting is wrong, 4 the "
        "database, Redis",
        "or the upstream can't be reached.",
        "",
        'Completion for bash: `eval "$(_ZENZEFI_COMPLETE=bash_source zenzefi)"` (likewise `zsh`, '
        "`fish`).",
    ]
    for path, command in leaf_commands(main, "zenzefi"):
        # A copy: a command keeps the help option of whoever asked it first.
        command = copy.copy(command)
        command._help_option = None
        context = click.Context(
            command,
            info_name=path,
            max_content_width=96,
            terminal_width=96,
            help_option_names=main.context_settings["help_option_names"],
        )
        lines += ["", f"## {path}", "", "```text", command.get_help(context).rstrip(), "```"]
    return "\n".join(lines) + "\n"


def leaf_commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with what is typed for it."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaf_commands(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def exported() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Every metric by its exported name: kind, labels, help."""
    found = {}
    for value in vars(metrics).values():
        kind = type(value).__name__
        if kind in ("Counter", "Gauge", "Histogram"):
            name = value._name + ("_total" if kind == "Counter" else "")
            found[name] = (kind.lower(), tuple(value._labelnames), value._documentation)
    return found


def metrics_page() -> str:
    """``docs/reference/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        MADE,
        "At `/metrics` for Prometheus (also in OpenMetrics), or on a listener of its own with "
        "`METRICS_LISTEN`.",
        "The labels have few values, all known beforehand: a client can't make series. A dashboard "
        "for Grafana is",
        "in `deploy/grafana/zenzefi.json`.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, (kind, labels, text) in sorted(exported().items()):
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {shown} | {text} |")
    return "\n".join(lines) + "\n"


def _errors(base: type[GateError] = GateError) -> Iterator[type[GateError]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__.startswith("zenzefi."):
            yield from _errors(kind)


def _raised_errors() -> list[type[GateError]]:
    """The errors that the program raises, by status; one for each code.

    A class that is only a base of others is left out, and so is one that shares its code with an
    error above it in the tree: clients can't tell them apart.
    """
    raised = _raised_by_name()
    found: dict[tuple[int, str], type[GateError]] = {}
    for kind in _errors():
        is_told_apart = not any(
            up.__name__ in raised and (up.status, up.code) == (kind.status, kind.code)
            for up in kind.__mro__[1:]
            if issubclass(up, GateError)
        )
        if is_told_apart and (kind.__name__ in raised or not kind.__subclasses__()):
            found.setdefault((kind.status, kind.code), kind)
    return sorted(found.values(), key=lambda kind: kind.status)


def _raised_by_name() -> set[str]:
    """The names after ``raise`` in the program, and those of calls that make an error."""
    names: set[str] = set()
    for path in Path(zenzefi.app.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Name(id=name)) | ast.Call(func=ast.Name(id=name)):
                    names.add(name)
    return names


def errors_page() -> str:
    """``docs/reference/errors.md``."""
    lines = [
        "# Errors",
        "",
        MADE,
        'Every refusal is `{"detail", "code", "request_id"}`; `detail` of a 422 is a list of',
        '`{"type", "loc", "msg", "input"}`. Programs look at `code`, people read `detail`, and the',
        "`request_id` finds the line in the log. A navigation gets the same as a page.",
        "",
        "| status | code | says | when |",
        "|---|---|---|---|",
    ]
    for kind in _raised_errors():
        when = (kind.__doc__ or "").strip().partition("\n\n")[0]
        cells = (kind.default, " ".join(when.replace("``", "`").split()))
        says, when = (text.replace("|", "\\|") for text in cells)
        lines.append(f"| {kind.status} | `{kind.code}` | {says} | {when} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "hooks.md": hooks_page,
}

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}")
