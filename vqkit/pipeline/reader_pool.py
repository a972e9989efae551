"""Media read ahead in child processes, each of which can be killed over the item that it is at."""

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import MediaError, VqkitError
from vqkit.pipeline.children import start_child, stop_child
from vqkit.pipeline.clip_reading import ClipHead, OpenClip, ReadClip, bytes_of, send_clip
from vqkit.pipeline.executors.base import WorkerLostError
from vqkit.pipeline.reading import MediaReader, MediaRequest, ReadMedia

__all__ = ["ReaderPool", "reason_of"]

_MAX_REASON_LENGTH = 1000
_GRACE_SECONDS = 1.0


def reason_of(error: BaseException) -> str:
    """Why an item failed, in one line of bounded length."""
    if isinstance(error, VqkitError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "there is not enough memory"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_MAX_REASON_LENGTH]


class ReaderPool:
    """Reads items in order, as many ahead as there are children.

    A child decodes one item, offers it, and waits until it is taken: whoever takes slowly slows
    the children down, and memory holds one item for each of them. An item that takes longer than
    the time limit, or that its child dies over (decoders crash on hostile files), costs that child
    its life and nobody else anything.

    Of a clip a child offers a block of frames after the other, and the time limit is that of each.

    Args:
        reader: How to read.
        num_readers: Children.
        timeout_seconds: For fetching and decoding one item, or a block of a clip.
    """

    def __init__(self, reader: MediaReader, num_readers: int, timeout_seconds: float) -> None:
        self.reader = reader
        self.num_readers = num_readers
        self.timeout_seconds = timeout_seconds
        self._idle: list[_Child] = []
        self._busy: deque[_Child] = deque()
        self._serving: tuple[_Child, ReadClip] | None = None

    def __enter__(self) -> "ReaderPool":
        self._idle += [_Child(self.reader) for _ in range(self.num_readers)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_all()

    def read(self, requests: Iterable[MediaRequest]) -> Iterator[ReadMedia | ReadClip | str]:
        """Read items.

        Yields:
            For each request, in order, the item or the reason why it cannot be had. The frames of a
            clip are taken before the next item is asked for; what is left of them is given up.
        """
        try:
            for request in requests:
                if len(self._busy) == self.num_readers:
                    yield self._take()
                    self._end_serving()
                self._assign(request)
            while self._busy:
                yield self._take()
                self._end_serving()
        finally:
            self._end_serving()
            # Items that nobody will take any more must not turn up in the next call.
            if self._busy:
                self._stop_all()

    def _assign(self, request: MediaRequest) -> None:
        child = self._idle.pop() if self._idle else _Child(self.reader)
        child.begin(request)
        self._busy.append(child)

    def _end_serving(self) -> None:
        """The child that served a clip is free, if it is at the end of that."""
        if self._serving is None:
            return
        child, clip = self._serving
        self._serving = None
        if clip.is_over:
            self._idle.append(child)
        else:
            child.kill()

    def _take(self) -> ReadMedia | ReadClip | str:
        return self._answer_of(self._busy.popleft(), attempts_left=1)

    def _answer_of(self, child: "_Child", attempts_left: int) -> ReadMedia | ReadClip | str:
        try:
            answer = child.answer(self.timeout_seconds)
        except TimeoutError:
            child.kill()
            return f"not read and decoded within {self.timeout_seconds:g} s"
        except EOFError:
            reason = child.last_words()
            if not attempts_left:
                return reason
            # A system that is short of memory kills blameless decoders too.
            fresh = _Child(self.reader)
            fresh.begin(child.request)
            return self._answer_of(fresh, attempts_left - 1)
        if isinstance(answer, ReadClip):
            self._serving = child, answer
        else:
            self._idle.append(child)
        return answer

    def _stop_all(self) -> None:
        for child in (*self._idle, *self._busy):
            child.kill()
        self._idle.clear()
        self._busy.clear()


class _Child:
    """One reader process."""

    def __init__(self, reader: MediaReader) -> None:
        self.process, self.connection = start_child(
            _serve, reader, name="vqkit-reader", is_light=True
        )
        try:
            self.connection.recv()  # it is ready: what follows is the item's own time
        except (EOFError, OSError) as error:
            raise WorkerLostError(
                f"Cannot read media: {self.last_words()} as it started."
            ) from error
        self.request = MediaRequest("")
        self.begun = 0.0

    def begin(self, request: MediaRequest) -> None:
        """Hand it the item to read."""
        self.request = request
        self.begun = time.monotonic()
        # One that has died is noticed, with its request, when its answer is awaited.
        with contextlib.suppress(OSError):
            self.connection.send(request)

    def answer(self, timeout_seconds: float) -> ReadMedia | ReadClip | str:
        """Wait for the item, the first of a clip or the reason why it cannot be had.

        Raises:
            TimeoutError: It takes longer than the limit, counted from :meth:`begin`.
            EOFError: The process died.
        """
        left = max(0.0, self.begun + timeout_seconds - time.monotonic())
        try:
            # What is ready was ready in time, however late it is asked for.
            if not self.connection.poll(left):
                raise TimeoutError
            head = self.connection.recv()
            if isinstance(head, str):
                return head
            if isinstance(head, ClipHead):
                return ReadClip(head, lambda: self._next(timeout_seconds), self._fill)
            shape, *facts = head
            media = torch.empty(shape, dtype=torch.float32)
            self.connection.recv_bytes_into(bytes_of(media))
        except TimeoutError:
            raise
        except OSError as error:
            raise EOFError from error
        return ReadMedia(media, *facts)

    def _next(self, timeout_seconds: float) -> Any:
        """What follows of a clip.

        Raises:
            MediaError: It takes longer than the limit, or the process died.
        """
        try:
            if not self.connection.poll(timeout_seconds):
                raise MediaError(f"no further frame was decoded within {timeout_seconds:g} s")
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise MediaError(self.last_words()) from error

    def _fill(self, frames: Tensor) -> None:
        try:
            self.connection.recv_bytes_into(bytes_of(frames))
        except (EOFError, OSError) as error:
            raise MediaError(self.last_words()) from error

    def last_words(self) -> str:
        """How a process ended that did so by itself."""
        self.process.join(_GRACE_SECONDS)
        code = self.process.exitcode
        self.kill()
        if code is not None and code < 0:
            return f"the process that decodes was ended by {signal.Signals(-code).name}"
        return f"the process that decodes ended with exit code {code}"

    def kill(self) -> None:
        """End it, whatever it is at."""
        stop_child(self.process, self.connection)


def _serve(connection: Connection, reader: MediaReader) -> None:
    """The life of a reader."""
    torch.set_num_threads(1)
    connection.send("ready")
    with contextlib.suppress(EOFError, BrokenPipeError):  # nobody is left to read for
        while True:
            request = connection.recv()
            try:
                item = reader.read(request)
                if isinstance(item, OpenClip):
                    send_clip(connection, item, reason_of)
                    continue
                media = item.media.to(torch.float32).contiguous()
            # Whatever is wrong with this item, the others are still worth their work.
            except Exception as error:
                connection.send(reason_of(error))
                continue
            # The head fits into the pipe and tells the parent that this item is in time; the
            # samples wait until they are taken.
            facts = (item.size_bytes, item.sha256, item.seconds, item.sample_rate_hz)
            connection.send((media.shape, *facts))
            connection.send_bytes(bytes_of(media))
