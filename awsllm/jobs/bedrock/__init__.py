"""Bedrock's jobs that make models: customisation, import, copies between regions.

    kinds           how such jobs are made, found, stopped and listed: a row each
    customization   data and a base to a custom model, and that to something that answers
    serving         deployments and provisioned throughput: the ways to call a custom model
    importing       a model that was trained elsewhere, from its files
    copying         a custom model of another region
    roles           the role that a job runs as
    uploads         what the caller has here, in S3

Requests and members are those of botocore 1.44's service model of ``bedrock``.
"""
