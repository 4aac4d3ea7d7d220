"""Structured formats by their standards, at every mount; the tables cite the sections.

Each address is given as a rooted path and as an absolute URL of the upstream. ``{0}`` and ``{1}``
in a template are addresses, and everything else must stay byte-identical.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.engine import exchange, rewrite_body
from tests.kit.mounts import MOUNTS, UPSTREAMS
from zenzefi.origin import Mount
from zenzefi.resources import bundled
from zenzefi.rewriting import xml_formats
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import map_headers
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
UPSTREAM = UPSTREAMS[0]
DAV = "application/xml"
OPENSEARCH = "application/opensearchdescription+xml"
MPD = "application/dash+xml"
HLS = "application/vnd.apple.mpegurl"
MANIFEST = "application/manifest+json"

CASES = [
    # RFC 4918: multistatus, lock roots, nested properties; any prefix, or the default namespace
    (
        DAV,
        '<D:multistatus xmlns:D="DAV:"><D:response><D:href>{0}</D:href></D:response>',
    ),
    (DAV, "<multistatus xmlns='DAV:'><response><href>\n {0} </href></response></multistatus>"),
    (
        "text/xml",
        '<?xml version="1.0"?><!-- <a> --><d:prop xmlns:d="DAV:"><d:lockdiscovery><d:activelock>'
        "<d:locktoken><d:href>opaquelocktoken:e71d</d:href></d:locktoken>"
        "<d:lockroot><d:href>{0}</d:href></d:lockroot></d:activelock></d:lockdiscovery></d:prop>",
    ),
    (
        DAV,
        '<d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:propstat>'
        "<d:prop><c:calendar-home-set><d:href>{0}</d:href></c:calendar-home-set></d:prop>"
        "</d:propstat></d:multistatus>",
    ),
    # OpenSearch 1.1
    (
        OPENSEARCH,
        '<OpenSearchDescription xmlns="http://a9.com/-/spec/opensearch/1.1/"><ShortName>/x</ShortName>'
        '<Url type="text/html" template="{0}?q={{searchTerms}}"/><Image width="16">{1}</Image>'
        "</OpenSearchDescription>",
    ),
    ("text/xml", '<OpenSearchDescription><Url template="{0}"/></OpenSearchDescription>'),
    # WSDL 1.1 and XML Schema
    (
        "text/xml",
        '<wsdl:definitions targetNamespace="https://app.example/ns" xmlns:wsdl="w"><wsdl:import '
        'namespace="https://app.example/ns" location="{0}"/><soap:address location="{1}"/>'
        "</wsdl:definitions>",
    ),
    (
        "application/xml",
        '<xs:schema xmlns:xs="x" xsi:schemaLocation="https://app.example/ns https://app.example/x">'
        '<xs:include schemaLocation="{0}"/></xs:schema>',
    ),
    ("application/xrd+xml", '<XRD><Link rel="lrdd" template="{0}?uri={{uri}}"/></XRD>'),
    # XHTML with the label of plain XML
    ("application/xml", '<html xmlns="http://www.w3.org/1999/xhtml"><form action="{0}"/></html>'),
    # DASH
    (MPD, '<MPD><UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="{0} {1}"/></MPD>'),
    (
        MPD,
        '<MPD><UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="2026-01-01T00:00Z"/>',
    ),
    (MPD, "<MPD><ContentProtection><dashif:Laurl>{0}</dashif:Laurl></ContentProtection></MPD>"),
    (MPD, '<MPD><ContentSteering defaultServiceLocation="a">{0}</ContentSteering></MPD>'),
    (MPD, '<MPD><ProgramInformation moreInformationURL="{0}"/><Location>{1}</Location></MPD>'),
    (MPD, '<MPD><Period xlink:href="{0}"/><SegmentURL media="{1}" index="{0}"/></MPD>'),
    ("text/xml", "<MPD><BaseURL>{0}/</BaseURL></MPD>"),
    # HLS
    (HLS, '#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="b"\n{0}\n'),
    (HLS, '#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI="{0}",PATHWAY-ID="a"\n'),
    (
        HLS,
        '#EXTM3U\n#EXT-X-DATERANGE:ID="/a",X-ASSET-URI="{0}"\n#EXT-X-PART:DURATION=1,URI="{1}"\n',
    ),
    ("application/vnd.apple.steering-list", '{{"VERSION":1,"TTL":300,"RELOAD-URI":"{0}"}}'),
    # Web application manifests
    (MANIFEST, '{{"start_url":"{0}","scope":"{1}","id":"{0}","name":"/x"}}'),
    (MANIFEST, '{{"icons":[{{"src":"{0}","type":"/x"}}],"screenshots":[{{"src":"{1}"}}]}}'),
    (MANIFEST, '{{"shortcuts":[{{"url":"{0}","icons":[{{"src":"{1}"}}]}}]}}'),
    (MANIFEST, '{{"icons_localized":{{"de":[{{"src":"{0}"}}]}}}}'),
    (MANIFEST, '{{"share_target":{{"action":"{0}","params":{{"url":"/x"}}}}}}'),
    (
        MANIFEST,
        '{{"file_handlers":[{{"action":"{0}","icons":[{{"src":"{1}"}}],"accept":{{"a/b":[".c"]}}}}]}}',
    ),
    (MANIFEST, '{{"protocol_handlers":[{{"protocol":"web+a","url":"{0}?%s"}}]}}'),
    (
        MANIFEST,
        '{{"note_taking":{{"new_note_url":"{0}"}},"tab_strip":{{"new_tab_button":{{"url":"{1}"}}}}}}',
    ),
    (MANIFEST, '{{"tab_strip":{{"home_tab":{{"scope_patterns":[{{"pathname":"{0}"}}]}}}}}}'),
    (MANIFEST, '{{"related_applications":[{{"platform":"webapp","url":"{0}"}}]}}'),
    (MANIFEST, '{{"migrate_from":[{{"id":"{0}","install_url":"{1}"}}]}}'),
]


def rewritten(kind: str, mount: Mount, source: str, **changes: Any) -> str:
    exchanged = exchange(
        {"Content-Type": kind}, mount=mount, mapper=UrlMapper(UPSTREAM, mount), **changes
    )
    return rewrite_body(ENGINE, exchanged, source.encode()).decode()


def both(template: str, mount: Mount) -> list[tuple[str, str]]:
    """The template with rooted addresses, and with absolute ones; and what must come out."""
    seen = mount.root[:-1]
    return [
        (template.format("/a", "/b"), template.format(f"{mount.prefix}/a", f"{mount.prefix}/b")),
        (
            template.format(f"{UPSTREAM}/a", f"{UPSTREAM}/b"),
            template.format(f"{seen}/a", f"{seen}/b"),
        ),
        (template.format("a", "b/c"), template.format("a", "b/c")),
        (template.format("https://x.example/a", "//x.example/b"),) * 2,
    ]


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(("kind", "template"), CASES)
def test_every_address_of_a_format_is_mapped_and_nothing_else(
    kind: str, template: str, mount: Mount
) -> None:
    for source, expected in both(template, mount):
        assert rewritten(kind, mount, source) == expected


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_alternatives_of_a_base_do_not_chain(mount: Mount) -> None:
    """ISO/IEC 23009-1, 5.6.4: each sibling resolves against the base of the level above."""
    source = (
        "<MPD><BaseURL>/a/b/</BaseURL><BaseURL>../../../c/</BaseURL><BaseURL>/d/</BaseURL><Period>"
        "<BaseURL>e/</BaseURL><BaseURL>f/</BaseURL><AdaptationSet><SegmentURL media='{0}'/>"
        "</AdaptationSet></Period><Period><SegmentURL media='{1}'/></Period></MPD>"
    )
    # Against /a/b/e/ four steps leave the root, against /a/b/ three do.
    steps = ("../../../s", "../../s")
    prefix = mount.prefix
    out = rewritten(MPD, mount, source.format(*steps))
    assert f"media='{steps[0]}'" in out
    assert f"media='{steps[1]}'" in out
    assert f"<BaseURL>{prefix}/a/b/</BaseURL>" in out
    assert f"<BaseURL>{prefix + '/c/' if prefix else '../../../c/'}</BaseURL>" in out
    out = rewritten(MPD, mount, source.format("../../../../s", "../../../s"))
    left = ("../../../../s", "../../../s") if mount.is_root else (f"{prefix}/s",) * 2
    assert f"media='{left[0]}'" in out
    assert f"media='{left[1]}'" in out


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_variables_of_a_playlist_are_substituted_where_an_address_changes(mount: Mount) -> None:
    seen = mount.root[:-1]
    source = (
        "#EXTM3U\n"
        f'#EXT-X-DEFINE:NAME="base",VALUE="{UPSTREAM}/v"\n'
        f'#EXT-X-DEFINE:NAME="host",VALUE="{UPSTREAM.authority}"\n'
        '#EXT-X-DEFINE:NAME="folder",VALUE="/f"\n'
        '#EXT-X-DEFINE:NAME="other",VALUE="https://x.example"\n'
        '#EXT-X-DEFINE:QUERYPARAM="q"\n'
        '#EXT-X-DEFINE:IMPORT="parent"\n'
        "{$base}/1.ts\n"
        f"{UPSTREAM.scheme}://{{$host}}/2.ts\n"
        "{$folder}/3.ts\n"
        "/g/{$q}/4.ts\n"
        "{$other}/5.ts\n"
        "{$parent}/6.ts\n"
        '#EXT-X-MAP:URI="{$folder}/7.mp4"\n'
    )
    lines = rewritten(HLS, mount, source, url=f"{UPSTREAM}/x.m3u8?q=1").split("\n")
    prefix = mount.prefix
    assert lines[1] == f'#EXT-X-DEFINE:NAME="base",VALUE="{seen}/v"'
    assert lines[2] == f'#EXT-X-DEFINE:NAME="host",VALUE="{UPSTREAM.authority}"'
    assert lines[7] == "{$base}/1.ts"  # the mapped value, substituted by the player
    assert lines[8] == f"{seen}/2.ts"
    assert lines[9] == (f"{prefix}/f/3.ts" if prefix else "{$folder}/3.ts")
    assert lines[10] == (f"{prefix}/g/1/4.ts" if prefix else "/g/{$q}/4.ts")
    assert lines[11] == "{$other}/5.ts"
    assert lines[12] == "{$parent}/6.ts"
    assert f'URI="{prefix + "/f" if prefix else "{$folder}"}/7.mp4"' in lines[13]


RULES = "application/speculationrules+json"


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("inline", [False, True])
def test_rule_sets_map_addresses_and_url_patterns(mount: Mount, inline: bool) -> None:
    seen, prefix, public = mount.root[:-1], mount.prefix, mount.public
    port = "" if ":" not in public.authority else public.authority.partition(":")[2]
    named = {"hostname": public.host} | ({"port": port} if port else {})
    pairs = [
        ("/a/*", f"{prefix}/a/*"),
        (f"{UPSTREAM}/a/:id", f"{seen}/a/:id"),
        ("*://app.example/a/*", f"{seen}/a/*"),
        ("http{s}?://app.example/*", f"{seen}/*"),
        ("*://app.example", f"{seen}/"),
        ("https://*.example/a", "https://*.example/a"),
        ("{/a}?/b", f"{prefix}{{/a}}?/b"),
        ("a/*", "a/*"),
        ({"pathname": "/a/*"}, {"pathname": f"{prefix}/a/*"}),
        ({"hostname": "app.example", "pathname": "/a"}, {**named, "pathname": f"{prefix}/a"}),
        ({"hostname": "x.example", "pathname": "/a"}, {"hostname": "x.example", "pathname": "/a"}),
        ({"search": "q=/a"}, {"search": "q=/a"}),
    ]

    def rules(side: int) -> dict[str, object]:
        patterns = [pair[side] for pair in pairs]
        where = {"and": [{"href_matches": patterns}, {"not": {"href_matches": patterns[0]}}]}
        urls = [("/a", f"{prefix}/a")[side], (f"{UPSTREAM}/b", f"{seen}/b")[side], "c"]
        matches = {"where": {**where, "x": {"selector_matches": "a[href='/a']"}}}
        return {"prefetch": [{"urls": urls, "tag": "/t"}, matches]}

    text = json.dumps(rules(0))
    if inline:
        page = f"<!doctype html><script type=speculationrules>{text}</script>"
        text = rewritten("text/html", mount, page, destination="empty")
        text = text.partition("speculationrules>")[2].partition("</script>")[0]
    else:
        text = rewritten(RULES, mount, text)
    assert json.loads(text) == rules(1)


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("label", ["application/json", "text/plain", "application/octet-stream"])
def test_a_manifest_is_known_by_the_requests_destination(label: str, mount: Mount) -> None:
    out = rewritten(label, mount, '{"start_url":"/a"}', destination="manifest")
    assert out == f'{{"start_url":"{mount.prefix}/a"}}'


def header(name: str, value: str, mount: Mount) -> str:
    view = View(f"{UPSTREAM}/dir/page", UrlMapper(UPSTREAM, mount), mount)
    out = map_headers([(name, value)], view)
    return out[0][1] if out else ""


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(
    "template",
    [
        'Digest realm="/a", domain="{0} {1}", nonce="x, domain=\\"/a\\"", qop="auth"',
        'Bearer realm="x", resource_metadata="{0}", error_uri="{1}"',
        'Basic realm="https://app.example/x"',
        'Negotiate, Bearer error="invalid_token", resource_metadata="{0}"',
        "NTLM TlRMTVNTUAAB=",
        'Bearer scope="a", authorization_uri="{0}"',
    ],
)
def test_addresses_in_challenges(template: str, mount: Mount) -> None:
    for source, expected in both(template, mount):
        assert header("WWW-Authenticate", source, mount) == expected


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_the_realm_of_bearer_may_be_the_address_of_its_tokens(mount: Mount) -> None:
    seen = mount.root[:-1]
    value = 'Basic realm="https://app.example/t", Bearer realm="https://app.example/t",service="r"'
    expected = f'Basic realm="https://app.example/t", Bearer realm="{seen}/t",service="r"'
    assert header("WWW-Authenticate", value, mount) == expected


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(
    "url", [f"{UPSTREAM}/r", r"https:\/\/app.example\/r", r"https:\u002f/app.example/r"]
)
def test_the_servers_of_report_to(url: str, mount: Mount) -> None:
    endpoints = f'[{{"url":"{url}","priority":1}}]'
    value = f'{{"group":"url","max_age":1,"endpoints":{endpoints}}}, {{"url":"/x"}}'
    out = header("Report-To", value, mount)
    if not mount.is_root:  # origin-wide
        assert out == ""
        return
    first, second = json.loads(f"[{out}]")
    assert first["endpoints"][0]["url"] == f"{mount.public}/r"
    assert (first["group"], second) == ("url", {"url": "/x"})


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(
    "name", ["HX-Redirect", "HX-Push-Url", "Turbo-Location", "X-Inertia-Location"]
)
def test_an_absolute_address_for_a_script_is_mapped_and_a_rooted_one_stays(
    name: str, mount: Mount
) -> None:
    assert header(name, f"{UPSTREAM}/a?b", mount) == f"{mount.root}a?b"
    for value in ("/a", "a", "https://x.example/a", "false"):
        assert header(name, value, mount) == value
    location = header("HX-Location", f'{{"path":"{UPSTREAM}/a", "target":"#x"}}', mount)
    assert json.loads(location) == {"path": f"{mount.root}a", "target": "#x"}


def test_every_format_has_a_table_that_names_something() -> None:
    for rules in xml_formats.BY_ROOT.values():
        assert rules.attributes or rules.elements
