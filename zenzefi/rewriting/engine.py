"""The engine's interface for the proxy: plans which plugins rewrite a body, and maps headers.

Pure: takes an :class:`ExchangeHead`, returns bytes and headers. The proxy does the I/O.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from urllib.parse import urlsplit

from multidict import CIMultiDict

from zenzefi.http_syntax import DOCUMENT_DESTINATIONS
from zenzefi.origin import MountKind
from zenzefi.rewriting import codecs, csp, sniff, validators
from zenzefi.rewriting.body import BodyRewrite
from zenzefi.rewriting.cache import ResultCache
from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import BODY_HEADERS, map_headers, varying
from zenzefi.rewriting.origin_search import OriginSearch
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.planned import PlannedBody, cached_body
from zenzefi.rewriting.plans import Plan, Plans
from zenzefi.rewriting.plugins.heads import ExchangeHead, fits
from zenzefi.rewriting.plugins.hooks import Hooks
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.values import Needs
from zenzefi.rewriting.result_key import (
    is_open,
    names_varied,
    tag_key,
)
from zenzefi.rewriting.runtime import is_worker
from zenzefi.rewriting.untouched import forbids_changes, must_stay

__all__ = ["Engine", "ExchangeHead"]

_NO_BODY = frozenset((204, 205, 304))
PREPARED_HEADERS = ("If-None-Match", "If-Match", "Range", "If-Range", "Accept-Encoding")
"""The headers that :meth:`Engine.prepare_request` reads itself; plugins may change any header."""
_CONTENT_TYPE = "Content-Type"
_POLICY = "content-security-policy"


class Engine:
    """Plans rewritings. One per process, shared by all requests of one event loop."""

    def __init__(
        self,
        registry: Registry,
        *,
        budget: Budget | None = None,
        cache: ResultCache | None = None,
        clock: Callable[[], float] = time.thread_time,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self.registry = registry
        self.hooks = Hooks(registry)
        self.budget = budget or Budget()
        self.cache = cache if cache is not None else ResultCache()
        self._clock = clock
        self._nonce = nonce
        self.plans = Plans(registry)

    # --- before the request goes out -------------------------------------------------------------
    def prepare_request(self, exchange: ExchangeHead, headers: CIMultiDict[str]) -> None:
        """Change the request's headers for the upstream, in place.

        Derived validators become the upstream's own, ``Range`` is removed if the response will be
        rewritten, codings unknown to the gate are removed, and plugins may change headers.
        """
        value = ", ".join(headers.getall("If-None-Match", ()))
        if "~z" in value:
            _put(headers, "If-None-Match", validators.if_none_match(value, self._key(exchange)))
        elif value and not exchange.mount.is_root and _is_for_worker(exchange):
            # It is the tag of the same script for a page, which passed unchanged.
            _put(headers, "If-None-Match", None)
        value = ", ".join(headers.getall("If-Match", ()))
        if "~z" in value:
            _put(headers, "If-Match", validators.if_match(value, self._key(exchange)))
        if "Range" in headers:
            path = urlsplit(exchange.url).path
            condition = headers.get("If-Range")
            if validators.wants_whole(path, exchange.destination, condition):
                headers.popall("Range")
                headers.popall("If-Range", None)
        asked = ", ".join(headers.getall("Accept-Encoding", ()))
        if asked:
            headers["Accept-Encoding"] = codecs.forwardable(asked)
        self.hooks.request_headers(exchange, headers)

    # --- when the response's head is there -------------------------------------------------------

    def must_refetch(self, exchange: ExchangeHead) -> bool:
        """Whether a 206 has a type that is rewritten: repeat the request without ``Range``.

        A range of the upstream's body is not a range of the rewritten one (RFC 9110, 14).
        """
        return (
            exchange.status == 206
            and exchange.method == "GET"
            and self._entries(exchange) is not None
        )

    def plan(self, exchange: ExchangeHead) -> BodyRewrite | None:
        """The rewriting of the body; ``None`` if it passes unchanged, in its content coding."""
        if exchange.status < 200 or exchange.status in _NO_BODY or exchange.status == 206:
            return None
        if exchange.method == "HEAD":
            return None
        found = self._entries(exchange)
        if found is None:
            return None
        plan, entries = found
        coding = self._coding(exchange)
        if coding is None:
            return None
        permission = self._permission(exchange, plan)
        cached = None
        if permission is None:
            fingerprint = self.registry.fingerprint
            cached = cached_body(self.cache, exchange, fingerprint, entries, coding)
        return PlannedBody(
            exchange,
            plan,
            entries,
            headers=self._rewritten_headers(exchange, found, coding, permission),
            content_encoding=_content_encoding(exchange),
            coding=coding,
            permission=permission,
            cached=cached,
            is_heavy=plan.may_be_heavy and any(e.plugin.needs is Needs.DOCUMENT for e in entries),
            # A permission has a nonce, which is for one response.
            is_repeatable=permission is None and self.plans.are_constant,
            budget=self.budget,
            clock=self._clock,
        ).begin()

    def map_response_headers(self, exchange: ExchangeHead) -> list[tuple[str, str]]:
        """The headers of a response without a body, or whose body passes unchanged."""
        headers = self._mapped(exchange)
        if exchange.status == 304:
            return self._for_304(exchange, headers)
        if exchange.method == "HEAD" and self._has_body_for_get(exchange.status):
            search = self.origin_search(exchange)
            if search is not None:  # the length is not known without the body
                return _without(BODY_HEADERS, varying(headers, search.varies))
            found = self._entries(exchange)
            coding = self._coding(exchange)
            if found is not None and coding is not None:  # the same fields that a GET would have
                permission = self._permission(exchange, found[0])
                return self._rewritten_headers(exchange, found, coding, permission)
        return headers

    @staticmethod
    def _has_body_for_get(status: int) -> bool:
        """Whether a GET with this status would have a body that may be rewritten."""
        return 200 <= status < 300 and status not in _NO_BODY and status != 206

    @staticmethod
    def _coding(exchange: ExchangeHead) -> str | None:
        """The coding of the rewritten body; ``None`` if the upstream's can't be decoded."""
        content_encoding = _content_encoding(exchange)
        if codecs.decoders(content_encoding) is None:
            return None
        return codecs.choose(
            ", ".join(exchange.request_headers.getall("Accept-Encoding", ())),
            codecs.codings(content_encoding),
        )

    def origin_search(self, exchange: ExchangeHead) -> OriginSearch | None:
        """The search that tells whether the body passes unchanged: nothing found, nothing changed.

        ``None`` if no search can tell, or the body passes unchanged anyway.
        """
        if exchange.status < 200 or exchange.status in _NO_BODY or exchange.status == 206:
            return None
        coding = _content_encoding(exchange)
        if codecs.decoders(coding) is None or must_stay(exchange):
            return None
        if coding and exchange.mount.kind is MountKind.CLIENT:
            return None  # that client can't decode
        if not exchange.mount.is_root and _is_for_worker(exchange):
            return None  # it gets the runtime
        label = exchange.response_headers.get(_CONTENT_TYPE, "")
        return self.plans.search(label, exchange.destination, exchange.mount, exchange.mapper)

    def unchanged_headers(
        self, exchange: ExchangeHead, search: OriginSearch
    ) -> list[tuple[str, str]]:
        """The headers of a body in which ``search`` has found nothing."""
        return varying(self._mapped(exchange), search.varies)

    # --- how it is decided -----------------------------------------------------------------------

    def _entries(self, exchange: ExchangeHead) -> tuple[Plan, list[LoadedPlugin]] | None:
        headers = exchange.response_headers
        label = headers.get(_CONTENT_TYPE, "")
        nosniff = "nosniff" in headers.get("X-Content-Type-Options", "").lower()
        plan = self.plans.plan(
            label, exchange.destination, nosniff=nosniff, is_root=exchange.mount.is_root
        )
        entries = [entry for entry in plan.entries if fits(entry.plugin.matches, exchange)]
        if entries and must_stay(exchange):
            if forbids_changes(exchange):
                return None
            entries = [entry for entry in entries if entry.plugin.attachments]
        return (plan, entries) if entries else None

    # --- headers ---------------------------------------------------------------------------------

    def _mapped(
        self, exchange: ExchangeHead, permission: csp.Permission | None = None
    ) -> list[tuple[str, str]]:
        view = View(exchange.url, exchange.mapper, exchange.mount)
        headers = list(map_headers(exchange.response_headers.items(), view))
        if permission is not None:
            values = iter(permission.values)
            headers = [
                (name, next(values) if name.lower() == _POLICY else value)
                for name, value in headers
            ]
        headers = self.hooks.response_headers(exchange, headers)
        if self.registry.with_hook("response") and exchange.status >= 200:
            status, headers = self.hooks.response(exchange, headers)
            if exchange.memory is not None:
                exchange.memory.status = status
        return headers

    def _rewritten_headers(
        self,
        exchange: ExchangeHead,
        found: tuple[Plan, list[LoadedPlugin]],
        coding: str,
        permission: csp.Permission | None,
    ) -> list[tuple[str, str]]:
        plan, entries = found
        mapped = self._mapped(exchange, permission)
        has_tag = "etag" in [name.lower() for name, _ in mapped]
        key = self._key(exchange) if has_tag and not is_open(entries) else None
        headers = self._without_body_fields(key, mapped)
        out = [(n, v) for n, v in headers if n.lower() != "content-encoding"]
        was_coded = len(out) != len(headers)
        if coding != "identity":
            out.append(("Content-Encoding", coding))
        mount, destination = exchange.mount, exchange.destination
        varies = names_varied(entries, mount, destination)
        if plan.told_by_destination:
            varies.add("Sec-Fetch-Dest")
        if was_coded:
            varies.add("Accept-Encoding")
        return varying(out, varies)

    @staticmethod
    def _without_body_fields(
        key: str | None, headers: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """The headers of a rewritten body. ``key``: of the derived ETag; ``None`` for no ETag."""
        out = []
        for name, value in headers:
            lower = name.lower()
            if lower in BODY_HEADERS:
                continue
            if lower == "etag":
                derived = validators.derive(value, key) if key is not None else None
                if derived is not None:
                    out.append((name, derived))
                continue
            out.append((name, value))
        return out

    def _for_304(
        self, exchange: ExchangeHead, headers: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """The headers of a 304: the stored body was rewritten if the request has a derived tag.

        The stored policy is kept too: its nonce must match the stored body.
        """
        asked = ", ".join(exchange.request_headers.getall("If-None-Match", ()))
        if "~z" not in asked:
            return headers
        return [
            (name, value)
            for name, value in self._without_body_fields(self._key(exchange), headers)
            if name.lower() not in (_POLICY, "content-encoding")
        ]

    def _permission(self, exchange: ExchangeHead, plan: Plan) -> csp.Permission | None:
        """The permission for the runtime, which documents get, and for inline elements that are
        allowed by their hash."""
        if plan.effective != sniff.HTML:
            return None
        if exchange.destination is not None and exchange.destination not in DOCUMENT_DESTINATIONS:
            return None
        policies = exchange.response_headers.getall("Content-Security-Policy", ())
        if not policies:
            return None
        mount, fresh = exchange.mount, self._nonce()
        mapped = [csp.map_policy(v, exchange.mapper, mount, exchange.url) for v in policies]
        permission = csp.permit(mapped, mount.public, fresh)
        values, hashes = csp.permit_edited(permission.values, permission.nonce or fresh)
        return replace(permission, values=values, hashes=hashes)

    def _key(self, exchange: ExchangeHead) -> str:
        """Eight hex digits that change with everything a rewritten body depends on."""
        varies = self.plans.varies(exchange.mount, exchange.destination)
        facts = self.plans.facts(exchange.client)
        return tag_key(exchange, self.registry.fingerprint, varies, facts)


def _content_encoding(exchange: ExchangeHead) -> str:
    return ", ".join(exchange.response_headers.getall("Content-Encoding", ()))


def _is_for_worker(exchange: ExchangeHead) -> bool:
    return is_worker(exchange.destination, exchange.url.partition("?")[2].partition("#")[0])


def _without(names: Collection[str], headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in headers if pair[0].lower() not in names]


def _put(headers: CIMultiDict[str], name: str, value: str | None) -> None:
    headers.popall(name, None)
    if value is not None:
        headers[name] = value
