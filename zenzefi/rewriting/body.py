"""The rewriting of one body: decode, choose plugins, rewrite in one or more passes, encode."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from zenzefi.rewriting import charset, codecs
from zenzefi.rewriting.cache import Recall
from zenzefi.rewriting.pipeline import Budget

logger = logging.getLogger("zenzefi.rewriting")

# A step of work is long enough to be worth a turn of the event loop, and short enough not to block.
_LONG, _SHORT = 0.005, 0.001  # seconds of CPU
_SMALLEST, _FIRST, _LARGEST = 2048, 16 * 1024, 64 * 1024  # bytes


class Step(Protocol):
    """Bytes in, bytes out; may hold bytes back between two calls."""

    def feed(self, data: bytes) -> bytes:
        """The output that is complete after ``data``."""

    def release(self) -> bytes:
        """The output that was withheld only because more input could have changed a decision."""

    def finish(self) -> bytes:
        """The rest."""


class Decide(Protocol):
    """Reads the first decoded bytes until it can choose the transcoder and the steps."""

    def __call__(
        self, head: bytes, final: bool
    ) -> tuple[charset.Transcoder, Sequence[Step]] | None:
        """``None`` while more bytes are needed."""


class BodyRewrite:
    """A body being rewritten. Feed it in slices of at most 64 KiB, then finish it.

    ``headers`` are the response's headers for the browser. If ``heavy`` is true, :meth:`finish` may
    take long, because a plugin works on the whole document: call it off the event loop. ``again``
    begins another one with these headers, for a response with an equal head to an equal request;
    ``None``: each response must be planned.
    """

    def __init__(
        self,
        *,
        headers: list[tuple[str, str]],
        decoders: Sequence[codecs.Decoder],
        coding: str,
        decide: Decide,
        budget: Budget,
        heavy: bool = False,
        recall: Recall | None = None,
        clock: Callable[[], float] = time.thread_time,
        again: Callable[[], BodyRewrite] | None = None,
    ) -> None:
        self.headers = headers
        self.again = again
        self.heavy = heavy
        self._decoders = decoders
        self._decide: Decide | None = decide
        self._coding = coding
        self._budget = budget
        self._head = b""
        self._transcoder: charset.Transcoder = charset.Plain()
        self._steps: Sequence[Step] = ()
        self._clock = clock
        self._step = _FIRST
        self._encoded = 0
        self._meter = codecs.Meter()
        self._bailed = False
        self._recall = recall
        self._kept: list[bytes] | None = [] if recall else None
        self._keep = recall.largest if recall else 0
        self._may_release = True

    @functools.cached_property
    def _encoder(self) -> codecs.Encoder:
        # Made when it is needed: a cached result is encoded already.
        return codecs.encoder(self._coding)

    def feed(self, data: bytes) -> bytes:
        """All output for ``data``. Raises :class:`zenzefi.rewriting.codecs.CorruptBody`."""
        return b"".join(self.slices(data))

    def slices(self, data: bytes) -> Iterator[bytes]:
        """The same output in pieces of bounded work: let the event loop run between two of them.

        A piece is empty if its work produced no output yet. A compressed slice may expand to a lot
        of data, and a dense page costs more than a plain one, so the size of a step follows the CPU
        time of the previous steps.
        """
        if self._recall is not None:
            taken = self._recall.take(data)
            if taken is not data:
                yield b""
                for at in range(0, len(taken), codecs.PIECE):
                    yield from self._slices(taken[at : at + codecs.PIECE])
                return
        yield from self._slices(data)

    def _slices(self, data: bytes) -> Iterator[bytes]:
        self._encoded += len(data)
        for piece in codecs.decode(self._decoders, data, self._meter):
            self._check_ratio()
            if not piece:
                yield b""
            at = 0
            while at < len(piece):
                start = self._clock()
                part = piece[at : at + self._step]
                at += len(part)
                out = self._encoder.feed(self._through(part))
                self._pace(self._clock() - start)
                self._may_release = self._may_release and not out
                self._remember(out)
                yield out

    def _pace(self, seconds: float) -> None:
        if seconds > _LONG:
            self._step = max(_SMALLEST, self._step // 2)
        elif seconds < _SHORT:
            self._step = min(_LARGEST, self._step * 2)

    @property
    def withholds(self) -> bool:
        """Whether input has arrived, but no output left: the type or the encoding is undecided."""
        return self._may_release and (
            self._encoded > 0 or (self._recall is not None and self._recall.holds)
        )

    def release(self) -> bytes:
        """Decide now, and return what was withheld: the caller has waited long enough.

        Call it once, if :attr:`withholds`, between two calls of :meth:`slices`. A plugin that needs
        the whole body still waits for it. Later input is read as this decision says, so the result
        may depend on when the bytes arrived, and is not cached.
        """
        self._may_release, self._kept = False, None
        held = b""
        if self._recall is not None:
            held = b"".join(self._slices(self._recall.rest()))
        if self._decide is not None and not self._head.strip():
            return held
        return held + self._encoder.feed(self._through(b"", hurry=True))

    def finish(self) -> bytes:
        """The rest of the output. Raises :class:`zenzefi.rewriting.codecs.CorruptBody`."""
        held = b""
        if self._recall is not None:
            if self._recall.found is not None:
                return self._recall.found
            held = b"".join(self._slices(self._recall.rest()))
        for decoder in self._decoders:
            decoder.finish()
        rest = self._through(b"", final=True)
        out = self._encoder.feed(rest) + self._encoder.finish()
        self._remember(out)
        if self._recall is not None and self._kept is not None and not self._bailed:
            self._recall.keep(b"".join(self._kept))
        return held + out

    def _through(self, piece: bytes, *, final: bool = False, hurry: bool = False) -> bytes:
        if self._decide is not None:
            self._head += piece
            decision = self._decide(self._head, final or hurry)
            if decision is None:
                return b""
            self._transcoder, self._steps = decision
            self._decide, piece, self._head = None, self._head, b""
        data = self._transcoder.decode(piece, final)
        if hurry and isinstance(self._transcoder, charset.Undeclared):
            data += self._transcoder.release()
        for step in self._steps:
            data = step.feed(data)
            if hurry:
                data += step.release()
            if final:
                data += step.finish()
        return self._transcoder.encode(data, final)

    def _check_ratio(self) -> None:
        """A decompression bomb is first passed unchanged, then its connection is closed."""
        budget = self._budget
        work = self._meter.work
        if work <= budget.expanded or work <= budget.ratio * self._encoded:
            return
        if work > 4 * budget.expanded:
            raise codecs.CorruptBody
        if not self._bailed:
            self._bailed = True
            logger.warning(
                "decompression limit exceeded, rest of body passed unchanged: encoded=%d work=%d",
                self._encoded,
                work,
            )
            self._steps = [_Rest(step) for step in self._steps]

    def _remember(self, out: bytes) -> None:
        if self._kept is None or not out:
            return
        self._keep -= len(out)
        if self._keep < 0:
            self._kept = None
        else:
            self._kept.append(out)


class _Rest:
    """Ends a step early: returns the bytes that it held back, then passes the rest unchanged."""

    def __init__(self, step: Step) -> None:
        self._step: Step | None = step

    def feed(self, data: bytes) -> bytes:
        if self._step is None:
            return data
        held = self._step.finish()
        self._step = None
        return held + data

    def release(self) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""
