"""One file a metric: its formula on an examined case, and where the formula comes from."""
