"""An assistant that remembers: what it learns of you is kept in a file, and is there again tomorrow.

python examples/uses/assistant.py "I am Ada and I am allergic to nuts."
python examples/uses/assistant.py "What should I not eat?"
python examples/uses/assistant.py --facts          # what it knows; --forget NUMBER takes one back
"""

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path

import awsllm

FACTS = {"type": "array", "items": {"type": "string", "minLength": 12, "maxLength": 100}, "maxItems": 3}
LEARN = (
    "List what this message says about its writer that will still matter in a month (name, likes, work, health), each "
    "as one short sentence that begins with 'The user'. Answer with an empty list if it says nothing of the kind."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("message", nargs="?")
    parser.add_argument("--memory", type=Path, default=Path("assistant.db"), help="an SQLite file")
    parser.add_argument("--facts", action="store_true", help="list what is remembered")
    parser.add_argument("--forget", type=int, metavar="NUMBER")
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    options = parser.parse_args()
    with closing(sqlite3.connect(options.memory)) as memory, memory:
        memory.execute("CREATE TABLE IF NOT EXISTS facts (number INTEGER PRIMARY KEY, fact TEXT UNIQUE)")
        if options.forget is not None:
            memory.execute("DELETE FROM facts WHERE number = ?", (options.forget,))
        known = memory.execute("SELECT number, fact FROM facts ORDER BY number").fetchall()
        if options.message is None:
            print("\n".join(f"{number}  {fact}" for number, fact in known) or "Nothing is remembered.")
            return
        system = "You are a helpful assistant. Answer in one or two sentences."
        system += "".join(f"\nYou know of the user: {fact}" for _, fact in known)
        with awsllm.Client() as client:
            print(client.converse(options.model, options.message, system=system, max_tokens=80).text.strip())
            learned = client.converse(
                options.model, options.message, system=LEARN, output_type=FACTS, max_tokens=120, temperature=0
            )
        for fact in learned.output:
            if memory.execute("INSERT OR IGNORE INTO facts (fact) VALUES (?)", (fact,)).rowcount:
                print(f"  [remembered: {fact}]")


if __name__ == "__main__":
    main()
