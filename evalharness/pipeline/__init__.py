"""From a suite to stored scores: `make_plan` says what is missing, `execute` does it.

    suite.yaml -> entries -> trainings -> arms -> outputs -> scores

>>> plan = make_plan(load_suite(Path("suites/tickets.yaml")), store, Path("results"))                 # doctest: +SKIP
>>> result = asyncio.run(execute(plan, store, silent))                                                # doctest: +SKIP
"""

from evalharness.pipeline.events import Emit, Event, silent
from evalharness.pipeline.execute import Result, execute
from evalharness.pipeline.plan import ArmPlan, Plan, TrainingPlan, make_plan

__all__ = ["ArmPlan", "Emit", "Event", "Plan", "Result", "TrainingPlan", "execute", "make_plan", "silent"]
