"""Jobs: work that is done once, wherever it runs, and is known to be done by what lies on disk.

A job is a pure function from a frozen description to a result file; `run_chains` gets many done.
"""

from harness.benchmark.fold import TrainFold
from harness.evaluation.job import EvaluateSubmission
from harness.execution.job import ExecutionEnvironment, Job, JobResult
from harness.execution.scheduler import Chain, Executor, Finished, Recorder, run_chains
from harness.execution.serial import Serial
from harness.execution.starting import open_executor

__all__ = [
    "Chain",
    "EvaluateSubmission",
    "ExecutionEnvironment",
    "Executor",
    "Finished",
    "Job",
    "JobResult",
    "Recorder",
    "Serial",
    "TrainFold",
    "open_executor",
    "run_chains",
]
