"""Generates the reference pages from the program: settings, commands, metrics, errors, hooks.

``make docs`` writes them into ``docs/reference/``. A test fails if a page is out of date.
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
from zenzefi.errors import GateError, all_errors
from zenzefi.observability import metrics
from zenzefi.runtime.reload import RELOADABLE
from zenzefi.settings import Settings

MADE = "<!-- Made by `make docs`: change the program, not this page. -->\n"

# Grouped by subject. A test compares the names with Settings.
SETTINGS: dict[str, dict[str, str]] = {
    "The gate": {
        "debug": "Development mode: accepts weak keys and the `mock` payment provider.",
        "secret_key": "All keys are derived from it. 32 characters or more (a weaker key is "
        "refused unless `BACKEND_URL` is on loopback). The embedded default generates one and "
        "stores it in `DATA_DIR`.",
        "previous_secret_keys": "Comma list of former keys that still verify and decrypt. To "
        "rotate, move the old `SECRET_KEY` here.",
        "backend_url": "The origin at which browsers see the gate's own pages.",
        "data_dir": "SQLite file, certificates and keys of the embedded default.",
        "access_token_expire_minutes": "Lifetime of a bearer token (JWT), in minutes.",
        "application_name": "Name of the application behind the gate, shown on pages.",
        "admin_two_factor": "Administrators must sign in with a second factor.",
        "mail_url": "`smtp://user:password@host:port` for address confirmation and password "
        "resets. Without it both are off.",
        "mail_from": "Sender address of these e-mails.",
    },
    "Database and Redis": {
        "database_url": "`postgresql://...` or `sqlite:///...`, or use the `POSTGRES_*` settings. "
        "Default: the embedded SQLite.",
        "postgres_server": "Host of PostgreSQL.",
        "postgres_port": "Port of PostgreSQL.",
        "postgres_user": "User of PostgreSQL.",
        "postgres_password": "Password of PostgreSQL.",
        "postgres_db": "Database name in PostgreSQL.",
        "database_pool_size": "Database connections that one process keeps open; it may open up "
        "to twice as many.",
        "redis_url": "`redis://...`, or use the `REDIS_*` settings. Default: an in-process cache.",
        "redis_host": "Host of Redis.",
        "redis_port": "Port of Redis.",
        "redis_password": "Password of Redis.",
        "redis_db": "Database number in Redis.",
    },
    "The upstream": {
        "zenzefi_target_url": "Origin of the application behind the gate. Default: the bundled "
        "demo site, on the embedded default only.",
        "zenzefi_target_aliases": "Comma list of other origins that the application uses for "
        "itself.",
        "zenzefi_basic_auth_user": "User name for basic authentication at the upstream.",
        "zenzefi_basic_auth_password": "Password for basic authentication at the upstream.",
        "zenzefi_verify_ssl": "Verify the upstream's certificate.",
        "zenzefi_ca_file": "PEM file of the CA certificates that are trusted for the upstream.",
        "zenzefi_pinned_sha256": "SHA-256 fingerprint of the only certificate that is accepted.",
        "upstream_connect_timeout": "Timeout for opening an upstream connection, in seconds.",
        "upstream_read_timeout": "Longest silence of the upstream before a timeout, in seconds.",
        "upstream_max_connections": "Maximum connections of one process to the upstream, "
        "including requests, event streams, WebSockets and idle connections.",
        "upstream_connections_per_token": "Maximum of these connections that one access token "
        "uses for requests, and again for streams and WebSockets; at most half of either.",
        "upstream_long_lived_share": "Share of these connections that event streams, WebSockets "
        "and requests longer than ten seconds may use. The rest is reserved for short requests.",
        "upstream_queue_size": "Requests that may wait for a connection. One token may have half "
        "of them.",
        "upstream_queue_timeout": "Seconds that a request waits for a connection before it gets "
        "503.",
        "fast_lane": "Serve repeated requests on the fast path (docs/explanation/fast-path.md).",
    },
    "Reverse proxy": {
        "browser_mount": "Where browsers that signed in with a cookie use the application: "
        "`own-origin`, or `prefix` (`/api/v1/proxy/` on the origin of the gate's own pages, "
        "where a hostile application can attack them; over plain http the pages are then served "
        "on loopback only). Clients that send `X-Access-Token` always use the prefix.",
        "proxy_host": "Host (with port) at whose root the upstream is served, as its own origin. "
        "Default: `app.localhost` with the port of `BACKEND_URL` if that is on loopback, else "
        "none.",
        "proxy_port": "A second port for the same purpose, on the host of `BACKEND_URL`, if no "
        "other host name is available. The process listens on it too. Browsers share cookies "
        "between ports.",
        "trusted_proxies": "Comma list of networks whose forwarded headers are trusted.",
        "device_policy": "`off`, `optional` or `required`: whether a token is bound to one device.",
        "scopes": "JSON object: scope name to list of rules. A rule is a path pattern (`*` within "
        "a segment, `**` across segments) after optional methods: `GET,POST /reports/**`. `full` "
        "is built in.",
        "plugin_dir": "Folder of plugins, one file each.",
        "plugins_disabled": "Comma list of plugins that are not loaded.",
        "plugin_options": "JSON object: plugin name to its options.",
    },
    "Money": {
        "token_price_1h": "Price of a token for 1 hour in ZNC; 0 is free.",
        "token_price_12h": "Price of a token for 12 hours in ZNC.",
        "token_price_24h": "Price of a token for 24 hours in ZNC.",
        "token_price_7d": "Price of a token for 7 days in ZNC.",
        "token_price_30d": "Price of a token for 30 days in ZNC.",
        "refund_used_tokens": "Refund of a used token: `nothing` or `pro_rata`.",
        "payment_providers": "Comma list of `manual`, `mock` (needs `DEBUG`) and `stripe`.",
        "znc_to_rub_rate": "Price of one ZNC in roubles.",
        "stripe_secret_key": "Stripe's API key.",
        "stripe_webhook_secret": "Comma list of Stripe's webhook signing secrets.",
        "stripe_api_base": "Base URL of Stripe's API; changed in tests.",
    },
    "Operations": {
        "log_level": "`DEBUG`, `INFO`, `WARNING` or `ERROR`.",
        "log_format": "`auto` (pretty on a terminal, else JSON), `pretty` or `json`.",
        "access_log": "Log one line per request, in batches.",
        "health_check_interval": "Seconds between background checks.",
        "drain_delay": "Seconds during which a draining node still accepts connections, so that "
        "the load balancer can remove it first.",
        "drain_timeout": "Seconds that a draining node waits for requests in flight.",
        "metrics_listen": "`host:port` of a separate listener for `/metrics`, which is then not "
        "served on the main port.",
        "tracing": "Create OpenTelemetry spans (extra `opentelemetry`). The standard `OTEL_*` "
        "variables configure the export.",
        "audit_retention_days": "Days after which rows of the audit log are deleted.",
        "session_retention_days": "Days after their last use after which sessions of access "
        "tokens are deleted, with their addresses and browsers.",
        "cors_api_origins": "Comma list of origins whose scripts may call the API.",
        "rate_limit_login": "Attempts to sign in with one account from one address. "
        "`10/minute;100/hour`, or `off`.",
        "rate_limit_login_address": "Failed attempts from one address, over all accounts. "
        "Default: ten times `RATE_LIMIT_LOGIN`.",
        "rate_limit_login_account": "Failed attempts at one account, over all addresses. Default: "
        "ten times `RATE_LIMIT_LOGIN`.",
        "rate_limit_code": "Wrong codes of two-step sign-in, per account and address.",
        "rate_limit_code_account": "Wrong codes for one account, over all addresses. Default: "
        "three times `RATE_LIMIT_CODE`.",
        "rate_limit_register": "Registrations per address.",
        "rate_limit_api": "API calls per user.",
        "rate_limit_release": "Releases of a token's device, by its owner.",
        "rate_limit_proxy": "Proxied requests per token.",
        "rate_limit_websocket_messages": "Frames that browsers send over WebSockets, per token. "
        "Beyond the limit they are closed with code 4429.",
        "rate_limit_websocket_bytes": "Bytes that browsers send over WebSockets, per token: "
        "`10000000/minute`. Beyond the limit they are closed with code 4429.",
    },
}


def settings_page() -> str:
    """``docs/reference/settings.md``."""
    lines = [
        "# Settings",
        "",
        MADE,
        "Settings come from the environment or from `.env` in the current folder. `NAME_FILE` is "
        "the path of a file",
        "with the value of `NAME`, for secrets mounted by container platforms. `zenzefi check` "
        "tests the settings against",
        "the real database, Redis and upstream. Settings marked ↻ take effect on SIGHUP.",
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
        "Every command has `--help`. Commands prompt for secrets or read them from the environment",
        "or the standard input, never from arguments, which other users can read.",
        "",
        "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 invalid setting, 4 database, Redis "
        "or upstream",
        "unreachable.",
        "",
        'Completion for bash: `eval "$(_ZENZEFI_COMPLETE=bash_source zenzefi)"` (likewise `zsh`, '
        "`fish`).",
    ]
    for path, command in leaf_commands(main, "zenzefi"):
        # A copy, because a command caches its first help option.
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
    """Every command that is not a group, with its full path."""
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
        "Metrics are at `/metrics` for Prometheus (also in OpenMetrics), or on a separate listener "
        "with `METRICS_LISTEN`.",
        "Labels have a fixed set of values, so a client can't create series. `deploy/grafana/"
        "zenzefi.json` is a",
        "dashboard for Grafana.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, (kind, labels, text) in sorted(exported().items()):
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {shown} | {text} |")
    return "\n".join(lines) + "\n"


def _raised_errors() -> list[type[GateError]]:
    """The errors that the program raises, by status, one for each code.

    Skips classes that are only bases, and classes with the status and code of a base class, which
    clients can't tell apart.
    """
    raised = _raised_by_name()
    found: dict[tuple[int, str], type[GateError]] = {}
    for kind in all_errors():
        is_told_apart = not any(
            up.__name__ in raised and (up.status, up.code) == (kind.status, kind.code)
            for up in kind.__mro__[1:]
            if issubclass(up, GateError)
        )
        if is_told_apart and (kind.__name__ in raised or not kind.__subclasses__()):
            found.setdefault((kind.status, kind.code), kind)
    return sorted(found.values(), key=lambda kind: (kind.status, kind.code))


def _raised_by_name() -> set[str]:
    """The names after ``raise`` in the program, and of all calls."""
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
        'Every error is `{"detail", "code", "request_id"}`; `detail` of a 422 is a list of',
        '`{"type", "loc", "msg", "input"}`. Programs check `code`, users read `detail`, and the',
        "`request_id` identifies the line in the log. A navigation gets a page with the same text.",
        "",
        "| status | code | default text | when |",
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
