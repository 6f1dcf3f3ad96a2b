"""JumpStart: find a model, read what deploying it would do, do it, call it, take it down.

    hub/        what JumpStart says of a model: where documents come from, cached, searched; one form for both schemas
    plan/       the exact AWS requests, as a value: made, checked, priced, compared, with the rights that they need
    deploy/     apply makes a plan real and goes on where it was interrupted; inspection reads what runs; teardown
                removes all of it; endpoints has these behind one object, deployed around a block
    names       names that follow from what is wanted; tags: what is written on all that is made
    prices      what an instance costs an hour: a dated table
    facade      ``Client.jumpstart``, with the jobs of ``awsllm.jobs``
    interop     to and from the SageMaker Python SDK

All of it is boto3; the SageMaker SDK is never imported but by ``interop``.
"""
