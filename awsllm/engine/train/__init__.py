"""Training: the decoders of ``FAMILIES`` as modules that gradients go through, and what moves their weights.

recipe       what a training is, as plain JSON; its files of samples are ``sample_files``
run          carries one out in its folder, and goes on with it: ``train``
decoder      one decoder, by ``Config``, as a ``torch.nn.Module``
lora         linear maps with an adapter beside them; adapters in peft's files
objectives   what is made small: the cross entropy of texts, or preferences
chat         conversations as samples: what is learned is what the assistant says
scratch      a tokenizer and a model from nothing
export       what was learned as GGUF or safetensors
"""

from awsllm.engine.threads import import_torch

import_torch()  # before any module of this package does: its threads shall sleep while they wait
