"""The one exception a user sees: what went wrong and what to do next, on one line."""


class OnnxfixError(Exception):
    """The tool or its input failed (exit code 2).

    `message` says what is wrong, `next_step` what the user can do about it. Both are joined to a single line, because
    that line is all the terminal shows unless `--debug` is given.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message = " ".join(message.split())
        self.next_step = " ".join(next_step.split())
        super().__init__(f"{self.message}; {self.next_step}" if self.next_step else self.message)
