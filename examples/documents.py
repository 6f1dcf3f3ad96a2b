"""A question about a PDF. Models of Bedrock that can read it as it is, and say which words an answer rests on.

python examples/documents.py                                                          # the local model gets its text
python examples/documents.py --model bedrock:us.anthropic.claude-haiku-4-5-20251001-v1:0   # cites
python examples/documents.py --file contract.pdf "When does it end?"
"""

import argparse
from pathlib import Path

import awsllm

WARRANTY = Path(__file__).parent / "data" / "warranty.pdf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="How long does the warranty of the kettle last?")
    parser.add_argument("--file", type=Path, default=WARRANTY)
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    options = parser.parse_args()
    pdf = awsllm.document(options.file, citations=True)
    with awsllm.Client() as client:
        reply = client.converse(options.model, [pdf, options.question], max_tokens=80, temperature=0)
    print(reply.text)
    for block in reply.message.content:
        for citation in block.citations if isinstance(block, awsllm.Citations) else ():
            quoted = " ".join(part.text for part in citation.source_content if isinstance(part, awsllm.Text))
            print(f"  {citation.title}: “{quoted}”")
    for warning in reply.warnings:
        print(f"  note: {warning}")


if __name__ == "__main__":
    main()
