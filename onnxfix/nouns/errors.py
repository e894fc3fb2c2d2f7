"""The one exception a user sees: what went wrong and what to do next, on one line; and the runtime's own words."""

import re

LONGEST_MESSAGE = 400


class OnnxfixError(Exception):
    """The tool or its input failed (exit code 2).

    `message` says what is wrong, `next_step` what the user can do about it. Both are joined to a single line, because
    that line is all the terminal shows unless `--debug` is given.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message = " ".join(message.split())
        self.next_step = " ".join(next_step.split())
        super().__init__(f"{self.message}; {self.next_step}" if self.next_step else self.message)


def one_line(error: BaseException) -> str:
    """The message without the runtime's error number, its source paths and its line breaks, cut to 400 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^(This is an invalid model\. |Load model from .*? failed:\s*)+", "", text)
    # "<source file>:<line> <return type> <function>(<types>) [<condition> was false. ]<message>"
    text = re.sub(r"\S*/onnxruntime/\S+:\d+ .*?\) (?:const )?(?=[A-Z`'])", "", text)
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
