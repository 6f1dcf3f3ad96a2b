"""Tasks that are no chat, over the body that the container was found to speak."""

from __future__ import annotations

from awsllm.aws.call import Call
from awsllm.backends.sagemaker.backend import body_call
from awsllm.types.predict import PredictRequest, PredictResponse
from awsllm.wire.endpoint import Detected


def predict_call(request: PredictRequest, found: Detected) -> Call[PredictResponse]:
    return body_call(request, found)


CALLS = {PredictRequest: predict_call}
