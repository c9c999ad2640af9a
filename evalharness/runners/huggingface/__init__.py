"""Hugging Face: LoRA by TRL on HF Jobs, the result from the Hub, served here or on an Inference Endpoint (extra: hf).

In YAML: `runner: hf_jobs`, `base: Qwen/Qwen3-0.6B`, `params: {flavor: a10g-small}`.

>>> HfJobsRunner(HfJobsOptions(rank=8)).estimate(job)                                                 # doctest: +SKIP
2.0
"""

from evalharness.runners.huggingface.options import AutoTrainOptions, HfJobsOptions, ServeOptions
from evalharness.runners.huggingface.runner import AutoTrainRunner, HfJobsRunner

__all__ = ["AutoTrainOptions", "AutoTrainRunner", "HfJobsOptions", "HfJobsRunner", "ServeOptions"]
