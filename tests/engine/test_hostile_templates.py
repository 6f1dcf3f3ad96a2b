"""Chat templates that a stranger wrote to use up the machine, or to look around in it.

They are rendered in a process of its own, under limits of the operating system: so many bytes, and for each so many
seconds of processor time. A template that stays within its bounds is refused, or renders, long before.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from awsllm.engine.template import ChatTemplate, TemplateError

CHAT = [{"role": "user", "content": "hi"}]
LONG = "{% set a = 'a' * 100000 %}"
GROWING = "{% set ns = namespace(x=START) %}{% for i in range(40) %}{% set ns.x = STEP %}{% endfor %}"
BRANCHING = GROWING.replace("START", "1").replace("STEP", "[ns.x, ns.x]")  # small, but 2**40 ends to walk to
TUPLES = BRANCHING.replace("[", "(").replace("]", ")")
OFTEN = "{% set a = 'a' * 1000000 %}{% for i in range(99999) %}{% set x = STEP %}{% endfor %}"
SEARCHED = "{% set text = 'a' * 29000 %}{% set p = 'a' * 7500 ~ 'b' ~ 'a' * 7499 %}"
HUGE = "{% for i in range(99999) %}{{ 'a' * 100000 }}{% endfor %}"

# Each takes hundreds of megabytes, or would take gigabytes.
MEMORY = {
    "doubling by ~": GROWING.replace("START", "'aaaaaaaa'").replace("STEP", "ns.x ~ ns.x"),
    "doubling by +": GROWING.replace("START", "'aaaaaaaa'").replace("STEP", "ns.x + ns.x"),
    "doubling a list": GROWING.replace("START", "[1]").replace("STEP", "ns.x + ns.x"),
    "replace": LONG + "{{ a.replace('a', a) | length }}",
    "replace, the filter": LONG + "{{ (a | replace('a', a)) | length }}",
    "join": LONG + "{{ ([a] * 100000) | join | length }}",
    "join, the method": LONG + "{{ ''.join([a] * 100000) | length }}",
    "translate": LONG + "{{ a.translate({97: a}) | length }}",
    "tojson": "{{ messages | tojson(indent=2000000000) }}",
    "batch": "{{ [1] | batch(50000000, 0) | list | length }}",
    "a block that is kept": "{% set x %}" + HUGE + "{% endset %}",
    "a block that is filtered": "{% filter upper %}" + HUGE + "{% endfilter %}",
    "a macro": "{% macro f() %}" + HUGE + "{% endmacro %}{% set y = f() %}",
    "a long list, often": GROWING.replace("40", "9999").replace("START", "0").replace("STEP", f"[ns.x{', 1' * 20000}]"),
    "words": "{{ ('a ' * 8000000).split() | length }}",
    "joined from a generator": LONG + "{{ ([a] * 9000) | map('upper') | join | length }}",
    "joined by a long separator": LONG + "{{ a.join(['b'] * 9000) | length }}",
    "one value in many fields": LONG + "{{ ('{0}' * 9000).format(a) | length }}",
    "one value in many percents": LONG + "{{ (('%(a)s' * 9000) % {'a': a}) | length }}",
    "a wide field": "{{ '%99999999d' % 1 }}",
    "a wide argument": "{{ '{:{w}}'.format(1, w='999999999') }}",
    "a date": "{{ strftime_now('%999999999d') }}",
    "bytes of a number": "{{ (1).to_bytes(1000000000) }}",
    "separators": LONG + "{{ range(9999) | list | tojson(separators=(a, a)) | length }}",
    "indentation": "{{ range(9999) | list | tojson(indent='a' * 1000000) | length }}",
}
# Each takes minutes, or for ever.
TIME = {
    "loops within loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "calls within calls": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}"
    ),
    "squares of squares": GROWING.replace("START", "10").replace("STEP", "ns.x * ns.x"),
    "slice": "{{ range(99999) | list | slice(50000000) | list | length }}",
    "sum of lists": "{{ ([[1] * 100000] * 1000) | sum(start=[]) | length }}",
    "a format of braces": "{{ ('{' ~ ':' * 200000).format(1) }}",
    "printed": BRANCHING + "{{ ns.x }}",
    "as text": BRANCHING + "{{ ns.x | string }}{{ '%s' % ns.x }}",
    "in a format": BRANCHING + "{{ '{}'.format(ns.x) }}",
    "in JSON": BRANCHING + "{{ ns.x | tojson }}",
    "compared": BRANCHING + BRANCHING.replace("ns", "nt") + "{{ ns.x == nt.x }}",
    "with the namespace": BRANCHING + "{{ ns }}",
    "in an error": BRANCHING + "{{ raise_exception(ns.x) }}",
    "in Jinja's error": BRANCHING + "{{ ({}[ns.x]).x }}",
    "looked for": BRANCHING + "{{ [1].index(ns.x) }}",
    "hashed as a key": TUPLES + "{{ {ns.x: 1} }}",
    "hashed to look up": TUPLES + "{{ {}.get(ns.x) }}",
    "hashed by unique": TUPLES + "{{ [ns.x] | unique | list | length }}",
    "slices": OFTEN.replace("STEP", "a[1:]"),
    "capitals, the filter": OFTEN.replace("STEP", "a | upper"),
    "capitals, the method": OFTEN.replace("STEP", "a.upper()"),
    "contained": OFTEN.replace("STEP", "'b' in a"),
    "contained in numbers": OFTEN.replace("STEP", "'b' in range(99999)"),
    "the test of containing": "{% set l = range(99999) | list %}{{ l | select('in', l) | list | length }}",
    "nothing selected": OFTEN.replace("STEP", "([0] * 99999) | select | first"),
    "conditions of loops": "{% for i in range(99999) %}{% for j in range(99999) if 0 %}{% endfor %}{% endfor %}",
    "stripping": "{% set a = 'a' * 500000 %}{{ a.strip('b' * 500000 ~ 'a') | length }}",
    "trimming": "{% set a = 'a' * 500000 %}{{ a | trim('b' * 500000 ~ 'a') | length }}",
    "a bad search": SEARCHED + "{% for i in range(99999) %}{% set x = p in text %}{% endfor %}",
    "a bad search, the method": SEARCHED + "{% for i in range(99999) %}{% set x = text.find(p) %}{% endfor %}",
    "sorting": "{% set l = range(9999) | list %}{% for i in range(9999) %}{% set x = l | sort %}{% endfor %}",
    "a long path": "{{ [{}] * 99999 | map(attribute='a.' * 500000) | list | length }}",
    "rounding": "{{ 1.0 | round(10000000, 'ceil') }}",
    "powers": "{{ ((999999 ** 60) ** 60) ** 60 }}",
    "changes": "{% set l = range(99999) | list %}{% for i in l %}{{ loop.changed(l) }}{% endfor %}",
    "branches and names": "".join(f"{{%set a{i}=1%}}" for i in range(3500)) + "{%if a%}{%endif%}" * 3000,
}
ORDINARY = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"

RENDER = """
import json, resource, signal, sys
from awsllm.engine.template import ChatTemplate, TemplateError

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
for name, source in json.load(sys.stdin).items():
    signal.setitimer(signal.ITIMER_PROF, 5)
    try:
        ChatTemplate(source).render([{"role": "user", "content": "hi"}])
        verdict = "rendered"
    except TemplateError as error:
        verdict = "out of memory" if isinstance(error.__cause__, MemoryError) else "refused"
    except Exception as error:
        verdict = repr(error)
    print(json.dumps([name, verdict]), flush=True)
"""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    """What became of each template; one that used up its time has none, and none after it has."""
    templates = json.dumps({"ordinary": ORDINARY, **MEMORY, **TIME})
    command = [sys.executable, "-c", RENDER]
    done = subprocess.run(command, input=templates, stdout=subprocess.PIPE, text=True, check=False)
    return dict(json.loads(line) for line in done.stdout.splitlines())


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are those of Linux")


@linux
def test_an_ordinary_template_is_rendered_within_the_limits(verdicts: dict[str, str]) -> None:
    assert verdicts["ordinary"] == "rendered"


@linux
@pytest.mark.parametrize("name", MEMORY)
def test_a_template_that_builds_too_much_is_stopped(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts.get(name) in ("refused", "rendered")


@linux
@pytest.mark.parametrize("name", TIME)
def test_a_template_that_computes_too_long_is_stopped(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts.get(name) in ("refused", "rendered")


@pytest.mark.parametrize(
    "source",
    [
        "{% if 1 %}" * 200 + "{% endif %}" * 200,
        "{% for a in b %}" * 40 + "{% endfor %}" * 40,
        "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
        "{{ " + "-" * 50000 + "1 }}",
        "{{ a" + "|e" * 200 + " }}",
        "{% if a %}" + "{% elif b %}" * 7000 + "{% endif %}",
        "{{ a }}b" * 16000,
    ],
)
def test_a_template_that_nests_too_deeply_or_is_too_large_does_not_compile(source: str) -> None:
    with pytest.raises(TemplateError, match="does not compile"):
        ChatTemplate(source)


def test_the_budget_grows_with_the_conversation() -> None:
    """A template that looks at each message a few times is never refused; one that looks at each pair of them is."""
    chat = [{"role": "user", "content": "hi"}] * 5000
    once = "{% for m in messages %}{{ m.role ~ m.content | trim }}{% endfor %}"
    assert ChatTemplate(once).render(chat * 20) == "userhi" * 100_000
    pairs = "{% for m in messages %}{% for n in messages %}{{ n.role }}{% endfor %}{% endfor %}"
    assert ChatTemplate(pairs).render(chat[:100]) == "user" * 10_000
    with pytest.raises(TemplateError, match="more than a conversation of this length needs"):
        ChatTemplate(pairs).render(chat)


def test_a_budget_is_of_one_rendering() -> None:
    template = ChatTemplate("{% for i in range(9999) %}{% if i > 0 %}{% endif %}{% endfor %}done")
    assert {template.render(CHAT) for _ in range(40)} == {"done"}


def test_deep_values_and_long_refusals_are_refusals() -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TemplateError):
        ChatTemplate("x").render([{"role": "user", "content": deep}])
    with pytest.raises(TemplateError) as caught:
        ChatTemplate("{{ raise_exception('a' * 100000) }}").render(CHAT)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "source",
    [
        "{{ cycler.__init__.__globals__ }}",
        "{{ joiner.__init__.__globals__.os.popen('id').read() }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ dict.__call__.__globals__ }}{{ dict.__class__ }}",
        "{{ range.__class__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__ }}",
        "{{ self.__dict__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ (messages | map('upper')).gi_frame }}",
        "{% for m in messages %}{{ loop.__class__ }}{{ loop._iterator }}{% endfor %}",
        "{{ [messages] | map(attribute='__class__') | first }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '{a.__class__}'.format_map({'a': 1}) }}",
        "{{ ['{0.__class__}'] | map('format', messages) | first }}",
        "{{ ('{0.__class__.__mro__}' | attr('format'))(1) }}",
        "{% import 'os' as x %}{{ x }}",
        "{% include '/etc/passwd' %}",
        "{% extends '/etc/passwd' %}",
        "{% debug %}",
    ],
)
def test_a_template_sees_nothing_but_its_conversation(source: str) -> None:
    try:
        rendered = ChatTemplate(source).render(CHAT)
    except TemplateError:
        return
    assert rendered == ""
