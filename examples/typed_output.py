"""An answer that is an object of your own type: constrained decoding, native or a forced tool, as the model can.

python examples/typed_output.py [MODEL]
"""

import sys
from typing import Annotated, Literal

from pydantic import BaseModel, Field

import awsllm


class Ticket(BaseModel):
    product: Annotated[str, Field(max_length=30)]
    severity: Literal["low", "medium", "high"]
    summary: Annotated[str, Field(max_length=120)]


MAIL = "Hello, since this morning the Falcon-3 router drops every connection. Our whole office is offline!"


def main(model: str = "local:smollm2-135m-instruct") -> None:
    with awsllm.Client() as client:
        reply = client.converse(
            model, f"Make a support ticket of this mail: {MAIL}", output_type=Ticket, max_tokens=120
        )
    ticket: Ticket = reply.output
    print(f"{ticket.severity}: {ticket.product}: {ticket.summary}")


if __name__ == "__main__":
    main(*sys.argv[1:])
