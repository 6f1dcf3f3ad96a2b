"""The reward of reinforcement fine-tuning: right answers score, and short ones a little more.

Bedrock and SageMaker call it with a batch of answers; try it with one:
echo '[{"id": "1", "messages": [{"role": "user", "content": "6 x 7?"}, {"role": "assistant", "content": "It is 42."}],
  "metadata": {"reference_answer": "42"}}]' | awsllm lambda invoke - --handler examples.lambdas.grader.handler
"""

import re

from awsllm.lambdas import Grade, GradedSample, grader_handler


def grade(sample: GradedSample) -> Grade:
    numbers = re.findall(r"-?\d+", sample.answer)
    right = numbers[-1:] == [sample.reference_text()]
    short = len(sample.answer.split()) <= 20
    return Grade(0.9 * right + 0.1 * (right and short), {"right": float(right), "short": float(short)})


handler = grader_handler(grade=grade)
