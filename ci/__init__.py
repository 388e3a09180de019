"""Submissions by pull request: what any CI system runs, without knowing a forge.

`check_pr` needs no secret and never runs what it reads. `score_pr` and `after_merge` belong on the
organiser's machine, from the base branch's code. Workflow files only call them.
"""
