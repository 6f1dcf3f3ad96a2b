"""How good models are at what you ask of them: ``awsllm.evaluate``.

    cases        what is asked and what is expected, read from files and lists
    texts        scores of a text against a text: exact, F1, ROUGE
    structure    scores of JSON and of tool calls
    metrics      the table of metrics by name, and one of your own
    judges       a model that reads answers: by a rubric, or two beside each other in both orders
    statistics   intervals of rates, means and paired differences
    answers      what models answered, kept in a folder, so that an interrupted run goes on where it was
    run          ask every model every case, and score
    values       scored answers, and what is computed of them
    results      all that came of it, to be read, saved and compared
    markdown     the same as tables; page: as one page of HTML
    gate         ``assert_no_regression``
    bedrock      the same by evaluation jobs of Bedrock's

A score is a number, 1 the best, or a measure (seconds, dollars) of which less is better; a metric that has a bound
says of each answer whether it passes. Models are compared in pairs, case by case: what is hard for one is often hard
for the other, and only the differences tell them apart.
"""
