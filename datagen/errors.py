"""Every error that the package raises on purpose.

DatagenError
├── UsageError            the call or the input is wrong: one line, exit 2
│   └── Busy              another process works in the folder
├── Interrupted           Ctrl-C or SIGTERM; the run can go on: exit 130
├── AudioError            a clip that cannot be decoded: a row in rejected.parquet
├── RowError              a row of a corpus that is not of its published form: a row in rejected.parquet
├── LedgerError           the ledger cannot be read or written in mid-run: stops it, exit 1; what is committed stands
└── ModelError            a question to a model failed
    ├── Unparsable        (datagen.llm) the answer could not be read, nor could its repair
    ├── TransientError    worth another try later; never stored as an answer
    ├── PermanentError    the server refused this request for good; stored as an answer
    ├── ServerLost        nothing answered for longer than the patience; stops the run, exit 1
    ├── Denied            401, 402, 403: stops the run at once
    └── OverBudget        the next call could pass --max-cost; stops admitting work
"""

from __future__ import annotations

__all__ = [
    "AudioError",
    "Busy",
    "DatagenError",
    "Denied",
    "Interrupted",
    "LedgerError",
    "ModelError",
    "OverBudget",
    "PermanentError",
    "RowError",
    "ServerLost",
    "TransientError",
    "UsageError",
]


class DatagenError(Exception):
    """Root of the tree. The text is one line: what, the value, the cure."""


class UsageError(DatagenError):
    """The call or the input is wrong; the command line prints the one line and exits with 2."""


class Busy(UsageError):
    """Another process works in the run's folder."""


class Interrupted(DatagenError):
    """Ctrl-C or SIGTERM. No KeyboardInterrupt, of which the command line library makes a bare exit."""


class AudioError(DatagenError):
    """A clip cannot be decoded; `reason` is stable snake_case (`audio_missing`, `audio_corrupt`, `audio_empty` …)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class RowError(DatagenError):
    """One row of a corpus cannot be used; the text says which value and why."""


class LedgerError(DatagenError):
    """The ledger cannot be read or written (disk full, locked, malformed); stops the run."""


class ModelError(DatagenError):
    """A request to a model failed; `raw` is what the server said, `key` names it in the ledger."""

    reason = "model_error"

    def __init__(self, detail: str, raw: str = "", key: str = "") -> None:
        super().__init__(detail)
        self.raw = raw
        self.key = key


class TransientError(ModelError):
    """All retries were used up; a later run asks again."""

    reason = "transient"


class PermanentError(ModelError):
    """The server refused this very request (400, content filter); asked again only with --retry-failed."""

    reason = "refused"


class ServerLost(ModelError):
    """The endpoint did not answer within the patience."""

    reason = "server_lost"


class Denied(ModelError):
    """401, 402 or 403: no later request can do better."""

    reason = "denied"


class OverBudget(ModelError):
    """The request could take the run past its --max-cost."""

    reason = "over_budget"
