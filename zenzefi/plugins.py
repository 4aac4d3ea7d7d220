"""The public plugin API: everything a rewriter may import.

A plugin is one subclass of :class:`Plugin` in a file of ``PLUGIN_DIR``, or named by an entry
point of the group ``zenzefi.plugins``. ``docs/plugins.md`` is the tutorial,
``docs/reference/hooks.md`` the reference.
"""

from zenzefi.http_syntax import DOCUMENT_DESTINATIONS
from zenzefi.http_syntax import TOKEN as FIELD_NAME
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.content_way_back import ContentWayBack, content_way_back
from zenzefi.rewriting.csp import map_policy
from zenzefi.rewriting.css import CssScanner
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import HtmlOptions, HtmlScanner, IfNamed
from zenzefi.rewriting.html.embedded import WholeText, map_speculation_rules
from zenzefi.rewriting.literals import OriginFinder, OriginScanner, Spelled
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset
from zenzefi.rewriting.plugins.api import (
    Client,
    Context,
    EarlyResponse,
    Exchange,
    HeaderView,
    HttpAnswer,
    JsonValue,
    LookupCache,
    Match,
    Message,
    Needs,
    OutgoingRequest,
    OutgoingResponse,
    Plugin,
    PluginOptions,
    PluginServices,
    Response,
    Route,
    RouteRequest,
    Socket,
    StaticFiles,
    TextEdit,
    TextNode,
    Token,
    UpstreamError,
    route,
)
from zenzefi.rewriting.runtime import is_worker, runtime_tag, worker_prelude
from zenzefi.rewriting.scanner import Scanner, rewrite_whole
from zenzefi.rewriting.url_map import UrlMap
from zenzefi.rewriting.way_back import WayBack, way_back
from zenzefi.rewriting.xml_by_root import XmlByRoot
from zenzefi.rewriting.xml_formats import XmlRules, xml_format
from zenzefi.rewriting.xmlspans import XmlReader

API = 3
"""The version of this API. It grows when something is added; what plugins use stays."""

__all__ = [
    "API",
    "DOCUMENT_DESTINATIONS",
    "FIELD_NAME",
    "Client",
    "ContentWayBack",
    "Context",
    "CssScanner",
    "EarlyResponse",
    "Edit",
    "Exchange",
    "HeaderView",
    "HtmlOptions",
    "HtmlScanner",
    "HttpAnswer",
    "IfNamed",
    "JsonValue",
    "LookupCache",
    "Match",
    "Message",
    "Mount",
    "MountKind",
    "Needs",
    "Origin",
    "OriginFinder",
    "OriginScanner",
    "OutgoingRequest",
    "OutgoingResponse",
    "Plugin",
    "PluginOptions",
    "PluginServices",
    "Response",
    "Route",
    "RouteRequest",
    "Scanner",
    "Socket",
    "Spelled",
    "StaticFiles",
    "TextEdit",
    "TextNode",
    "Token",
    "UpstreamError",
    "UrlMap",
    "WayBack",
    "WholeText",
    "XmlByRoot",
    "XmlReader",
    "XmlRules",
    "content_way_back",
    "is_worker",
    "map_policy",
    "map_refresh",
    "map_speculation_rules",
    "map_srcset",
    "rewrite_whole",
    "route",
    "runtime_tag",
    "way_back",
    "worker_prelude",
    "xml_format",
]
