"""Bedrock's control plane, offline: what it lists, makes and runs.

    foundation      foundation models, as the catalogue knows them; agreements and use cases
    profiles        inference profiles: the geographies', and those of applications
    custom          custom models, and their deployments
    imported        import jobs, which read a model's files in S3, and what they make
    copies          copy jobs, from another region of the account
    provisioned     provisioned throughput
    routers         prompt routers
    customization   customisation jobs: they read their data, train what can be trained here, make a custom model
    batch           batch inference jobs: they read S3 and infer; ``batch_run`` does
    evaluation      evaluation jobs: they read S3, ask, score and write; ``evaluation_run`` does
    invocation_logs the configuration of logging, and the logs
    tags

What they share: ``refusals`` (how Bedrock says no), ``records`` (what is found by name, id or ARN, and becomes
ready), ``pages`` (lists), ``job_operations`` (what all jobs do). ``resolve`` says which model is behind what was made
here, for whoever invokes it; ``table`` has all operations.

Quotas (``Account.quotas``), without which there is no limit unless one is named: inference-profiles, custom-models,
custom-model-deployments, imported-models, prompt-routers, model-units; batch-records-min (100), batch-records-per-file
and batch-records-per-job (50,000); customization-records-min (1).
"""
