"""SageMaker's control plane, offline: what is created exists, becomes InService, and answers as its container would.

    plane       which operation a request means; the state of one account and region; replies in AWS's shapes
    hub         ListHubContents and its family over documents that are given
    resources   models, endpoint configurations, tags; what all resources share
    hosting     endpoints
    components  inference components
    rules       what is refused beyond the shapes of requests: licences, quotas
    containers  which format an endpoint's container speaks, and the part sizes of its streams
    jobs        training, batch transform, asynchronous inference: they run, and write to S3

A ``ControlPlane`` answers an ``Incoming`` with a ``Reply``, or with None for what it does not own, which is moto's. It
is driven in-process by ``awsllm.testing``.
"""
