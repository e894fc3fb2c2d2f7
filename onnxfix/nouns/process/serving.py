"""The child's side of `children`: answers requests. It imports little, so that a worker starts fast."""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import threading
from collections.abc import Callable
from typing import IO, Any

from onnxfix.nouns.errors import OnnxfixError, one_line

_LENGTH = 8


def write(stream: IO[bytes], content: bytes) -> None:
    """Bytes behind their length, at once."""
    stream.write(len(content).to_bytes(_LENGTH, "little"))
    stream.write(content)
    stream.flush()


def read(stream: IO[bytes]) -> bytes | None:
    """What `write` wrote; None at the end of the stream."""
    length = int.from_bytes(stream.read(_LENGTH), "little")
    content = stream.read(length)
    return content if length and len(content) == length else None


def serve(worker: str) -> None:
    """The child's side: answer requests until the pipe they come through is closed, which ends the process."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    answer = importlib.import_module(worker).answer
    while True:
        write(answers, _attempt(answer, waiting.get()))


def _listen(requests: IO[bytes], waiting: queue.SimpleQueue[bytes]) -> None:
    while (request := read(requests)) is not None:
        waiting.put(request)
    if os.name == "posix":  # whatever is at work: nobody is left to hear of it
        os.killpg(0, 9)
    os._exit(0)


def _attempt(answer: Callable[[Any], Any], request: bytes) -> bytes:
    try:
        return pickle.dumps((True, answer(pickle.loads(request))))
    except OnnxfixError as error:
        return pickle.dumps((False, (error.message, error.next_step)))
    except Exception as error:  # a worker's libraries raise anything
        return pickle.dumps((False, (one_line(error),)))
