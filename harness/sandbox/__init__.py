"""The sandbox: one stage of an evaluation or a training run, in a container with locked doors.

`Stage` says what runs and what it may see; a runner runs it; `failure` says who is to blame.
"""

from evaluator.progress import Progress
from harness.challenge import Challenge
from harness.sandbox.process_runner import ProcessRunner
from harness.sandbox.stage import Runner, RunnerName, Stage

__all__ = ["ProcessRunner", "Runner", "Stage", "open_runner"]


def open_runner(
    name: RunnerName,
    challenge: Challenge,
    progress: Progress,
    *,
    gpu_device: str | None = None,
) -> Runner:
    """The runner of that name; raises `engine-unavailable` where Docker is asked for and absent.

    Args:
        gpu_device: the one GPU that its stages may use, by index or UUID; null: the first.
    """
    if name == "process":
        return ProcessRunner(gpu_device)
    from harness.sandbox.docker_runner import DockerRunner  # noqa: PLC0415  the engine's client

    return DockerRunner(challenge, progress, gpu_device)
