"""Rescoring: kept predictions of recorded results, scored anew, and recorded all at once.

`job` scores one run, without inference; `plan` finds the runs behind a ledger's reports and says
what would change; `record` writes it. The organiser's act: no phase, quota or deadline applies.
"""
