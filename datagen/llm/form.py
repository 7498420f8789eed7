"""How a request is put to a server: the body of a chat completion, in the newest form that the server knows."""

from __future__ import annotations

from typing import Any, NamedTuple

from datagen.errors import PermanentError
from datagen.llm.reply import Unsupported
from datagen.llm.request import Request

__all__ = ["Form", "stepped_down"]


class Form(NamedTuple):
    """The parameters that servers know under several names, or not at all."""

    schema: str = "json_schema"
    """`json_schema`, `json_object` or `none`: how the answer's schema is told."""
    limit: str = "max_tokens"

    def body(self, request: Request, model: str) -> dict[str, Any]:
        """The JSON body of `POST /chat/completions`."""
        body: dict[str, Any] = {
            "model": model,
            "messages": request.messages,
            self.limit: request.sampling.max_tokens,
            **request.sampling.body(),
        }
        if request.schema is not None and self.schema == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.schema is not None and self.schema == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body


def stepped_down(now: Form, sent: Form, error: Unsupported, request: Request) -> Form:
    """A form that the server may know, after it refused `sent`. Raises PermanentError when there is none left."""
    if sent != now:  # another request has stepped down already
        return now
    if error.parameter == "max_tokens" and sent.limit == "max_tokens":
        return now._replace(limit="max_completion_tokens")
    if error.parameter == "response_format" and request.schema is not None and sent.schema != "none":
        return now._replace(schema="json_object" if sent.schema == "json_schema" else "none")
    raise PermanentError(str(error), error.raw)
