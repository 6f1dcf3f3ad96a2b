"""What language models are known for, with replies that are written down: what the programs make of them."""

import csv
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from awsllm import ConverseRequest
from awsllm.testing import local, mock_aws
from tests.support.examples import HOME, Run, names_of, runner


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return runner(monkeypatch, capfd)


def asked(aws: Any) -> list[ConverseRequest]:
    return [request for request in aws.requests if isinstance(request, ConverseRequest)]


# --- classification --------------------------------------------------------------------------------------------------

LINES = (HOME / "data" / "tickets.csv").read_text(encoding="utf-8").splitlines()
TICKETS = {text: label for label, text in csv.reader(LINES)}


def test_the_labelled_set_is_balanced_and_has_nothing_twice() -> None:
    labels = Counter(label for text, label in TICKETS.items() if text != "text")
    assert labels == {"billing": 30, "delivery": 30, "account": 30, "defect": 30}


def test_rates_are_those_of_the_answers(run: Run) -> None:
    """The model is right without examples in half of the cases, and with examples always."""

    def reply(request: ConverseRequest) -> str:
        text = request.messages[0].text.removeprefix("Ticket: ").removesuffix("\nLabel:")
        with_examples = "\nLabel: " in request.system[0].text
        wrong = {"billing": "defect", "delivery": "account"}.get(TICKETS[text], TICKETS[text])
        return json.dumps({"label": TICKETS[text] if with_examples else wrong})

    with mock_aws(reply=reply) as aws:
        out = run("uses/classification")
    assert "40 tickets to classify, none of them among the examples; guessing is right in 25%" in out
    rows = {line[:20].strip(): line[20:].split("(")[0].split() for line in out.splitlines()[1:]}
    assert rows["zero-shot"] == ["0", "examples", "20", "right", "50%"]
    assert rows["few-shot"] == ["8", "examples", "40", "right", "100%"]
    assert [rows[name][0] for name in ("nearest centroid", "logistic regression")] == ["80", "80"]
    shown = [line for line in asked(aws)[-1].system[0].text.splitlines() if line.startswith("Ticket: ")]
    texts = [request.messages[0].text.splitlines()[0] for request in asked(aws)]
    assert len(shown) == 8
    assert not set(shown) & set(texts)  # no test ticket is shown as an example


def test_the_interval_is_wilsons() -> None:
    interval = names_of("uses/classification")["interval"]
    assert interval(20, 40) == pytest.approx((0.352, 0.648), abs=1e-3)
    assert interval(40, 40) == pytest.approx((0.912, 1.0), abs=1e-3)


def test_the_classifiers_find_what_is_there() -> None:
    names = names_of("uses/classification")
    labels = np.repeat(np.arange(4), 5)
    vectors = np.eye(4)[labels] + np.random.default_rng(0).normal(0, 0.05, (20, 4))
    for fit in (names["by_centroid"], names["by_regression"]):
        assert (fit(vectors, labels)(np.eye(4)) == np.arange(4)).all()


@pytest.mark.slow
def test_a_real_embedding_model_sorts_most_tickets(run: Run) -> None:
    with mock_aws(reply={"smollm2-135m-instruct": '{"label": "defect"}', "*": local()}):
        out = run("uses/classification")
        shares = {line[:20].strip(): int(line[20:].split()[4].rstrip("%")) for line in out.splitlines()[1:]}
        assert shares["zero-shot"] == 25
        assert min(shares["nearest centroid"], shares["logistic regression"]) >= 85
        assert int(run("uses/clustering").split("purity ")[1].split("%")[0]) >= 80


# --- clustering ------------------------------------------------------------------------------------------------------


def test_clusters_are_named_after_their_members(run: Run) -> None:
    with mock_aws(reply="A Title") as aws:
        out = run("uses/clustering", "--clusters", "3")
    assert out.count("sentences: A Title") == len(asked(aws)) == 3
    assert sum(int(line.split()[0]) for line in out.splitlines() if line.endswith("sentences: A Title")) == 120


def test_k_means_finds_clusters_that_are_apart() -> None:
    names, middles = names_of("uses/clustering"), np.array([[0, 0], [9, 0], [0, 9]])
    vectors = np.repeat(middles, 20, axis=0) + np.random.default_rng(1).normal(0, 0.3, (60, 2))
    centres, nearest = names["best_of"](vectors, 3)
    assert sorted(np.round(centres).astype(int).tolist()) == [[0, 0], [0, 9], [9, 0]]
    assert sorted(Counter(nearest.tolist()).values()) == [20, 20, 20]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("answers", ["--documents", "nowhere"]),
        ("clustering", ["--clusters", "0"]),
        ("clustering", ["--clusters", "999"]),
        ("summarise", ["--part", "0"]),
        ("summarise", ["nowhere.txt"]),
        ("classification", ["--limit", "0"]),
        ("story", ["--endings", "0"]),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_model_is_asked(run: Run, name: str, arguments: list[str]) -> None:
    with mock_aws() as aws, pytest.raises(SystemExit) as stopped:
        run(f"uses/{name}", *arguments)
    assert (stopped.value.code, aws.requests) == (2, [])


# --- code generation -------------------------------------------------------------------------------------------------

RIGHT = {
    "median": "def median(n):\n s = sorted(n); h = len(s) // 2\n return s[h] if len(s) % 2 else (s[h - 1] + s[h]) / 2",
    "is_palindrome": "def is_palindrome(t):\n s = [c for c in t.lower() if c.isalnum()]\n return s == s[::-1]",
    "roman": "def roman(n):\n out = ''\n for v, s in zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),"
    " 'M CM D CD C XC L XL X IX V IV I'.split()):\n  out += s * (n // v); n %= v\n return out",
    "double": "def double(x): return 2 * x",
    "word_counts": "from collections import Counter\ndef word_counts(t): return dict(Counter(t.lower().split()))",
    "all names": "SELECT name FROM people ORDER BY name",
    "oldest": "SELECT name, age FROM people ORDER BY age DESC LIMIT 1",
    "sales by region": "SELECT region, SUM(amount) FROM sales GROUP BY region ORDER BY 2 DESC",
    "no orders": "SELECT name FROM customers WHERE id NOT IN (SELECT customer_id FROM orders)",
    "count lines": "grep -c ERROR log.txt",
    "unique sorted": "sort -u names.txt",
    "rename": 'for f in *.txt; do mv "$f" "${f%.txt}.md"; done; ls',
}
TASKS = json.loads((HOME / "data" / "code_tasks.json").read_text(encoding="utf-8"))
no_bounds = pytest.mark.skipif(sys.platform == "win32", reason="its bounds are those of Linux and macOS")


def sandbox() -> Any:
    """``run(command)`` in the sandbox of the program, where this machine lets somebody make one."""
    names = names_of("uses/code_generation")

    def run(command: list[str], files: dict[str, str] | None = None) -> str:
        return str(names["run"]([*names["SANDBOX"], *command], files or {}, seconds=60))

    if not run(["echo", "1"]):
        pytest.skip("this machine lets nobody make a sandbox")
    return run


@no_bounds
def test_a_better_model_has_a_better_rate(run: Run) -> None:
    """Every task can be passed; and a model that writes only Python passes the tasks of Python."""
    prompts = {task["prompt"]: task for task in TASKS}

    def good(request: ConverseRequest) -> str:
        task = prompts[request.messages[0].text.partition("\nAnswer with")[0]]
        return f"Here it is:\n```{task['language']}\n{RIGHT[task['name']]}\n```\nIt is short."

    def poor(request: ConverseRequest) -> str:
        task = prompts[request.messages[0].text.partition("\nAnswer with")[0]]
        return RIGHT[task["name"]] if task["language"] == "python" else "I cannot."

    with mock_aws(reply={"us.amazon.nova-pro-v1:0": good, "us.amazon.nova-lite-v1:0": poor}):
        models = ("bedrock:us.amazon.nova-pro-v1:0", "bedrock:us.amazon.nova-lite-v1:0")
        out = run("uses/code_generation", "--model", models[0], "--model", models[1], "--unsandboxed")
    first, second = out.splitlines()
    assert first.split() == [models[0], "100%", "pass", "python", "5/5", "sql", "4/4", "shell", "3/3"]
    assert second.split() == [models[1], "42%", "pass", "python", "5/5", "sql", "0/4", "shell", "0/3"]


@no_bounds
def test_code_that_fails_its_check_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    names = names_of("uses/code_generation")
    double = {"language": "python", "check": "assert double(4) == 8"}
    for code in (
        "import sys; sys.exit(0)",  # leaves before it is checked
        "x = bytearray(1 << 31)\ndef double(x): return 2 * x",  # more memory than there is
        "def double(x): return 3 * x",
        "print('0' * 16)",
    ):
        assert not names["passes"](double, code, [])
    run = names["run"]
    assert run([*names["PYTHON"], "while True: pass"], {}, seconds=0.5) == ""
    assert len(run(["sh", "-c", "yes | head -c 5000000 || true"], {})) <= 1 << 20  # what it prints is bounded
    assert "s3cret" not in run(["sh", "-c", "env"], {})


@no_bounds
def test_nothing_runs_where_no_sandbox_can_be_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def nowhere(*_: Any, **__: Any) -> Any:
        return real(["false"])

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", nowhere)
    with mock_aws(reply="```sh\nrm -rf /\n```") as aws, pytest.raises(SystemExit):
        run("uses/code_generation", "--model", "bedrock:us.amazon.nova-lite-v1:0")
    assert "--unsandboxed" in capfd.readouterr().err
    assert asked(aws) == []


@no_bounds
def test_the_sandbox_has_no_file_process_or_network_of_this_machine(tmp_path: Path) -> None:
    run, python = sandbox(), names_of("uses/code_generation")["PYTHON"]
    mine = tmp_path / "mine"
    mine.write_text("dear")
    assert run(["sh", "-c", f"echo harm >{mine}; cat {mine}; cd; ls -A; pwd"]) == "/work\n"
    assert run(["sh", "-c", "cat a; echo b >a; mv a b; ls"], {"a": "text\n"}) == "text\nb\n"  # its own it may change
    assert run(["sh", "-c", "touch /usr/harm /etc/harm /harm || echo refused"]) == "refused\n"
    assert mine.read_text() == "dear"
    assert set(run(["sh", "-c", "ls /proc | grep '^[0-9]' | wc -l"]).split()) <= {"3", "4", "5", "6"}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = listening.getsockname()
        assert run([*python, f"import socket; socket.create_connection({place}, 1); print('reached')"]) == ""


@no_bounds
def test_the_sandbox_bounds_processes_and_disk_and_leaves_none_behind() -> None:
    run, python = sandbox(), names_of("uses/code_generation")["PYTHON"]
    forks = "import os, time\nn = 0\ntry:\n while n < 500:\n  os.fork() or os._exit(time.sleep(9)); n += 1\n"
    assert 0 < int(run([*python, f"{forks}except OSError: print(n)"])) < 64
    assert run(["sh", "-c", "for i in $(seq 99); do head -c 1000000 /dev/zero >$i || exit 1; done; echo all"]) == ""
    daemon = "import os, time\nos.fork() and (print('left', flush=True), os._exit(0))\nos.setsid(); "
    name = f"awsllm-{os.getpid()}"
    seen = run([*python, f"{daemon}open('/proc/self/comm', 'w').write('{name[:15]}'); time.sleep(600)"])
    comms = [path.read_text() for path in Path("/proc").glob("[0-9]*/comm") if os.access(path, os.R_OK)]
    assert (seen, f"{name[:15]}\n" in comms) == ("left\n", False)


# --- texts -----------------------------------------------------------------------------------------------------------


def test_a_long_text_is_summarised_in_parts(run: Run, tmp_path: Path) -> None:
    with mock_aws(reply=["First.", "Second.", "Both."]) as aws:
        out = run("uses/summarise")
    article = (HOME / "data" / "article.txt").read_text(encoding="utf-8").strip()
    first, second, last = (request.messages[0].text for request in asked(aws))
    assert f"{first}\n\n{second}" == article
    assert last == "First.\n\nSecond."
    assert out.splitlines()[-1] == "Both."


def test_parts_lose_nothing_and_end() -> None:
    parts_of = names_of("uses/summarise")["parts_of"]
    text = "a" * 25 + "\n\n" + "b" * 3 + "\n\n" + "c" * 4
    assert parts_of(text, 10) == ["a" * 10, "a" * 10, "a" * 5 + "\n\nbbb", "cccc"]


def test_a_model_that_does_not_shorten_is_not_asked_for_ever(run: Run) -> None:
    with mock_aws(reply=lambda request: request.messages[0].text * 2) as aws:
        run("uses/summarise")
    assert len(asked(aws)) == 3


def test_a_translation_keeps_its_placeholders(run: Run) -> None:
    with mock_aws(reply=["Bonjour {name}, votre panier est vide.", "Votre colis arrive.", "Merci."]) as aws:
        out = run("uses/translation")
    assert "basket is panier" in asked(aws)[0].system[0].text
    assert [line for line in out.splitlines() if "differ" in line] == [
        "  Votre colis arrive.   <- placeholders differ: have it checked"
    ]
    assert out.endswith("2 of 3 can be used as they are\n")


def test_a_story_has_as_many_endings_as_wanted(run: Run) -> None:
    with mock_aws(reply=["It was his own.", "one two three four five six"]):
        out = run("uses/story", "One ship too many.", "--max-tokens", "5")
    assert "--- ending 1\nOne ship too many. It was his own.\n" in out
    assert "one two three four five [...]" in out


def test_copy_fits_its_template_and_what_is_lost_is_told(run: Run) -> None:
    copy = {"headline": "Hot", "body": "It boils in two minutes.", "call_to_action": "Buy"}
    with mock_aws(reply=[json.dumps(copy), "Arr, it boils in no time!"]) as aws:
        out = run("uses/copywriting", "--fact", "boils in two minutes", "--fact", "blue", "--voice", "a pirate")
    assert out.startswith("# Hot\n\nIt boils in two minutes.\n\n[Buy]\n")
    assert "a pirate" in asked(aws)[1].system[0].text
    assert out.endswith("words of them are missing: boils in two minutes, blue\n")


def test_a_fact_is_told_by_its_numbers_and_its_long_words() -> None:
    telling = names_of("uses/copywriting")["telling"]
    assert telling("Keeps warm for an hour; 1.7 litres.") == {"keeps", "warm", "hour", "1.7", "litres"}


# --- documents and memory --------------------------------------------------------------------------------------------


def test_an_answer_is_made_of_the_nearest_passages(run: Run, tmp_path: Path) -> None:
    """In a script equal texts have equal vectors and others have not."""
    (tmp_path / "a.md").write_text("# Tea\n\nGreen.\n\nBlack.\n", encoding="utf-8")
    with mock_aws(reply="It is green.") as aws:
        out = run("uses/answers", "Tea: Green.", "--documents", tmp_path, "--top", "1")
        assert run("uses/answers", "Something else", "--documents", tmp_path).startswith("The documents say nothing")
    [request] = asked(aws)
    assert request.messages[0].text == "Passages:\nTea: Green.\n\nQuestion: Tea: Green."
    assert out == "It is green.\n  1.00  a.md: Tea: Green.\n"


def test_what_the_assistant_learns_is_there_in_the_next_run(run: Run, tmp_path: Path) -> None:
    memory = tmp_path / "memory.db"
    fact = "The user is called Ada."
    with mock_aws(reply=["Hello.", json.dumps([fact]), "Ada.", json.dumps([fact])]) as aws:
        assert run("uses/assistant", "I am Ada.", "--memory", memory) == f"Hello.\n  [remembered: {fact}]\n"
        assert run("uses/assistant", "Who am I?", "--memory", memory) == "Ada.\n"
    assert fact not in asked(aws)[0].system[0].text
    assert fact in asked(aws)[2].system[0].text
    assert run("uses/assistant", "--facts", "--memory", memory) == f"1  {fact}\n"
    assert run("uses/assistant", "--forget", "1", "--memory", memory) == "Nothing is remembered.\n"
    with sqlite3.connect(memory) as kept:
        assert kept.execute("SELECT count(*) FROM facts").fetchone() == (0,)
