"""Job engine: jobs, their order, and the executors that do them.

A job is a pure function from a frozen description to a result file; `run_chains` gets many done.
"""

from harness.execution.job import ExecutionEnvironment, Job, JobResult
from harness.execution.scheduler import (
    Chain,
    Executor,
    Finished,
    Recorder,
    RunProgress,
    Serial,
    run_chains,
    run_job,
)
from harness.execution.starting import open_executor

__all__ = [
    "Chain",
    "ExecutionEnvironment",
    "Executor",
    "Finished",
    "Job",
    "JobResult",
    "Recorder",
    "RunProgress",
    "Serial",
    "open_executor",
    "run_chains",
    "run_job",
]
