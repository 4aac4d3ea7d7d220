"""Errors that the server returns before any domain handles the request."""

from __future__ import annotations

from zenzefi.errors import BadRequest, Forbidden, GateError


class AmbiguousRequest(BadRequest):
    """A request that two servers could parse differently."""

    code = "ambiguous_request"


class CrossSiteRefused(Forbidden):
    """A state-changing request from a page of another site."""

    code = "cross_site_refused"
    default = "This request did not come from the gate's own pages. Open the page again and retry."


class RequestTimeout(GateError):
    """The client stopped sending before its request was complete."""

    status = 408
    code = "request_timeout"
    default = "The request did not arrive completely in time. Send it again."


class ExpectationFailed(GateError):
    """An ``Expect`` other than ``100-continue`` (RFC 9110 section 10.1.1)."""

    status = 417
    code = "expectation_failed"
    default = "Unsupported expectation. Only 100-continue is supported."
