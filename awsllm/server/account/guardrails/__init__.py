"""Guardrails of the offline account: created, versioned, and applied.

    control     CreateGuardrail and its family; limits (what they refuse), records (what a region keeps)
    guardrail   one version; rules: its configuration as what is looked for in the input, and in the output
    judge       texts read whole or as they come; report: what is told of it
    apply       ApplyGuardrail
    inline      a conversation under a guardrail, its stream too

What is looked for, each with what finds it:

    words, patterns              phrases; regular expressions in bounded time, over a text that grows
    private, forms, checksums    private things, by their form (``private`` says which, and which not); names
    topics, filters, grounding   meaning, by the encoder of the models behind, or by words where these are a script;
                                 units (of a text), seeds (what categories of content sound like)

How well, on the labelled sets of tests/data/guardrails (``test_labelled.py`` computes the figures). A set was written
by hand together with its policy; what is called unseen was written afterwards, to be hard, and is nearer to what a
stranger's texts would give:

    policy                           cases  precision  recall
    words                               44       0.96    1.00
    regexes                             41       1.00    1.00
    sensitive_information              162       0.98    0.98
    sensitive_information_unseen        27       0.75    0.63
    topics                             104       0.89    0.90
    topics_unseen                       23       0.90    0.69
    content                            146       0.89    0.96
    content_unseen                      40       0.67    0.48
    grounding                           51       0.95    0.84
    grounding_unseen                    14       0.62    1.00

Topics, content and grounding are those of the encoder all-MiniLM-L6-v2, content at the strength HIGH, grounding at the
threshold 0.7; at MEDIUM content has the precision 0.94 and the recall 0.83, unseen 1.00 and 0.19. They are for tests of
what a program does when a guardrail acts, not for the protection of anyone. By words alone topics and content find
little but what was written down, and grounding is coarser.

Not served: automated reasoning (a guardrail with it is refused), images (they are counted and not judged), languages
other than English but for forms, words and patterns. The tiers CLASSIC and STANDARD are alike.
"""
