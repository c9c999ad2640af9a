"""An LLM as a judge: answers scored by a rubric, one by one or in pairs, by one model or a panel.

options.py says what a suite may write, chat.py what a judge reads, reading.py how strictly its answer is read,
votes.py how votes become a score, poll.py and lanes.py how thousands of questions are asked at once.

>>> judge = Judge(JudgeOptions(model="openai/gpt-x", rubric="Is it polite?", against="few-shot"))
>>> judge.calls(100), judge.against
(400, 'few-shot')
"""

from evalharness.metrics.judge.metric import Judge
from evalharness.metrics.judge.options import JudgeOptions
from evalharness.metrics.judge.votes import Vote, read_why

__all__ = ["Judge", "JudgeOptions", "Vote", "read_why"]
