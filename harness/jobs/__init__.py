"""Jobs: work that is done once, wherever it runs, and is known to be done by what lies on disk.

A job is a pure function from a frozen description to a result file; `run_chains` gets many done.
"""

from harness.jobs.driver import Chain, Executor, Finished, Recorder, run_chains
from harness.jobs.evaluating import EvaluateSubmission
from harness.jobs.job import Job, JobResult, Site
from harness.jobs.serial import Serial
from harness.jobs.starting import open_executor
from harness.jobs.training import TrainFold

__all__ = [
    "Chain",
    "EvaluateSubmission",
    "Executor",
    "Finished",
    "Job",
    "JobResult",
    "Recorder",
    "Serial",
    "Site",
    "TrainFold",
    "open_executor",
    "run_chains",
]
