"""Models that are no chat, behind endpoints: classifiers, taggers, detectors, forecasters and their like.

``names`` says which tasks there are, ``inputs`` how the data of one travel, ``results`` what its reply says. Three
containers are spoken to: JumpStart's own handlers (``jumpstart``), pipelines of transformers (``pipelines``), and
Triton (``triton``). Payloads are those of the notebooks in aws/amazon-sagemaker-examples that show each task, and of
transformers' documentation.
"""
