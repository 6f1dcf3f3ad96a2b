"""Knowledge bases, offline: what is in S3 is read, cut, embedded and found.

    records    what the account keeps of them: bases, data sources, documents, ingestion jobs
    bases      the operations on knowledge bases, and ``sources`` those on data sources
    ingestion  the operations on ingestion jobs, and ``documents`` those that ingest without one
    sync       what an ingestion job does

From an object to pieces that can be found, pure:

    reading    a file's text, by its format; ``markup`` reads HTML, ``word`` and ``sheets`` what is of ``office``
    sidecar    the attributes in ``FILE.metadata.json``
    chunking   a text in pieces, by the strategies that the service has

And how they are found:

    search     ``KnowledgeBase``: pieces with a score each, by vectors, by words or by both
    words      the score by words, which is BM25
    filters    which metadata a filter lets pass
"""
