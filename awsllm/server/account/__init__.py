"""AWS's control planes, offline: what is created exists, becomes InService, and answers as its container would.

The account, which knows no operation:

    state       what one region holds, and how time passes for it
    neighbours  the services beside it: S3, logs, alarms
    documents   JumpStart's hub documents
    account     ``Account``, and a ``Region`` of it, which every operation is given

SageMaker's operations, a table in each file:

    hub         ListHubContents and its family
    tags
    models      models and endpoint configurations
    packages    model packages and their groups, whoever makes them
    hosting     endpoints
    components  inference components
    training    training jobs: they run, train what can be trained here, and write to S3
    transform   batch transform jobs: likewise
    sessions/   training sessions, and their runtime

Bedrock's are packages of their own: ``bedrock``, and ``guardrails``, which applies them, too. bedrock-agent's:

    knowledge/  knowledge bases: data sources, ingestion, documents, and how they are searched
    prompts     prompts and their versions, and a conversation made of one

    bedrock_agent  what they share: ids, pages, tags, how it says no

What SageMaker's share: ``refusals`` (how SageMaker says no), ``rules`` (licences, quotas), ``listing`` (pages),
``resources`` (what is found by name and changes), ``jobs`` (what is started, runs and ends), ``job_operations``
(SageMaker's on them).

Training, SageMaker's and Bedrock's:

    local_training  the local model behind a base learns a job's data; tuning says what a job of SageMaker's learns
    reinforcement   the same by what a function judges (``judges``)
    artifacts       what is left in S3, and which weights stand behind it

The doors, for whoever drives an account (in-process, ``awsllm.testing``):

    protocols   an operation's members as botocore's models write them
    dispatch    ``handle``: an ``Incoming`` to a ``Reply``, or to None for what is not the account's, which is moto's
    containers  ``find``: what answers an endpoint's invocation
    invocations ``invoke_async``
"""
