"""Signs users in at the application: looks up their name and sends it in a header."""

from __future__ import annotations

import json
from urllib.parse import quote

from pydantic import SecretStr

from zenzefi.plugins import Exchange, OutgoingRequest, Plugin, PluginOptions, PluginServices


class SingleSignOn(Plugin):
    """The application trusts the header, so without a name nothing is sent."""

    name = "single-sign-on"
    on_failure = "refuse"

    class Options(PluginOptions):
        """``directory``: the address of the look-up; ``key``: ``{"file": "/run/secrets/key"}``."""

        directory: str = "https://directory.example/users/"
        key: SecretStr = SecretStr("")
        header: str = "X-Remote-Name"

    options: Options

    def startup(self, services: PluginServices) -> None:
        """A name is looked up once in ten minutes for each user."""
        self._http = services.http
        self._names = services.cache(10_000, 600.0)

    async def request(self, exchange: Exchange, request: OutgoingRequest) -> None:
        """Set the header; what a client has sent under this name goes."""
        user = exchange.client.user_id
        request.headers.popall(self.options.header, None)
        request.headers[self.options.header] = str(
            await self._names.get(user, lambda: self._look_up(user))
        )

    async def _look_up(self, user: str) -> str:
        key = self.options.key.get_secret_value()
        answer = await self._http.request(
            "GET",
            self.options.directory + quote(user, safe=""),
            headers={"Authorization": f"Bearer {key}"},
        )
        if answer.status != 200:
            raise LookupError(f"the directory responded with {answer.status}")
        return quote(str(json.loads(answer.body)["name"]))
