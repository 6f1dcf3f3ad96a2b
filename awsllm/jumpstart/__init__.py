"""JumpStart: find a model, read what deploying it would do, do it, call it, take it down.

    document    what JumpStart says of a model: one form for both of its schemas
    catalogue   where documents come from, searched and cached
    prices      what an instance costs an hour: a dated table
    resolve     the document's rules: configuration, instance type, image, environment, artifact
    options     what the caller may ask beside the model
    plan        the exact AWS requests, as a value; planner makes it of checks, names, requests and scaling,
                changes compares it with what exists, plan_text writes it for people
    permissions what they need of IAM
    apply       makes a plan real; goes on where it was interrupted
    endpoints   what runs: list, describe, logs, scale, update, delete, reap
    training    fine-tuning; transform: batch; asynchronous: inference through S3
    interop     to and from the SageMaker Python SDK

All of it is boto3; the SageMaker SDK is never imported but by ``interop``.
"""
