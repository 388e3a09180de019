"""The sandbox: one stage of an evaluation or a training run, in a container with locked doors.

`Stage` says what runs and what it may see; a runner runs it; `failure` says who is to blame.
"""

from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.process_runner import ProcessRunner
from harness.sandbox.stage import Runner, Stage

__all__ = ["DockerRunner", "ProcessRunner", "Runner", "Stage"]
