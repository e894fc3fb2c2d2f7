"""Text of a file that is not UTF-8, against the specification: ONNX Runtime loads it, so that free text is made so.

The parser hands such a string out as bytes. Free text (documentation, metadata, who produced the file) is read as
Latin-1 then, which is what it mostly is; a name that is not UTF-8 is a fault, as names say what is connected with what.
Bytes of attributes, which may be anything, are kept as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_FREE = frozenset({"doc_string", "producer_name", "producer_version", "value", "denotation"})
_STRING, _MESSAGE = 9, 11  # types of a FieldDescriptor


def is_readable(message: Any) -> bool:
    """Whether all strings of a message are UTF-8."""
    for field, value in message.ListFields():
        if field.type == _STRING:
            if any(type(each) is bytes for each in (value if field.is_repeated else (value,))):
                return False
        elif field.type == _MESSAGE and not all(map(is_readable, value if field.is_repeated else (value,))):
            return False
    return True


def names(message: Any) -> Iterator[str]:
    """The strings that are not UTF-8 and no free text, as text that can be shown."""
    for field, value in message.ListFields():
        every = value if field.is_repeated else (value,)
        if field.type == _STRING and field.name not in _FREE:
            yield from (each.decode(errors="backslashreplace") for each in every if type(each) is bytes)
        elif field.type == _MESSAGE:
            for each in every:
                yield from names(each)


def make_readable(data: bytes, message: Any) -> bytes:
    """The bytes of a message with free text as UTF-8; protobuf itself lets nobody write over what is not."""
    return b"".join(_rewritten(data, message.DESCRIPTOR))


def _rewritten(data: bytes, kind: Any) -> Iterator[bytes]:
    from onnxfix.nouns.weights.wire import header, split

    for number, whole, content in split(data):
        field = kind.fields_by_number.get(number)
        if content is None or field is None or field.type not in (_STRING, _MESSAGE):
            yield whole
            continue
        if field.type == _MESSAGE:
            content = b"".join(_rewritten(content, field.message_type))
        elif field.name in _FREE:
            content = _as_text(content)
        yield header(number, len(content)) + content


def _as_text(content: bytes) -> bytes:
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1").encode()
    return content
