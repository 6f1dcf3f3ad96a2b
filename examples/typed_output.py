"""An answer that is an object of your own type: constrained decoding, native or a forced tool, as the model can.

python examples/typed_output.py [--model REF]
"""

import argparse
from typing import Annotated, Literal

from pydantic import BaseModel, Field

import awsllm


class Ticket(BaseModel):
    product: Annotated[str, Field(max_length=30, pattern=r"^[A-Z][\w -]+$")]
    severity: Literal["low", "medium", "high"]
    summary: Annotated[str, Field(max_length=120)]


MAIL = "Hello, since this morning the Falcon-3 router drops every connection. Our whole office is offline!"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
    options = parser.parse_args()
    with awsllm.Client() as client:
        reply = client.converse(
            options.model, f"Make a support ticket of this mail: {MAIL}", output_type=Ticket, max_tokens=120
        )
    ticket: Ticket = reply.output
    print(f"{ticket.severity}: {ticket.product}: {ticket.summary}")


if __name__ == "__main__":
    main()
