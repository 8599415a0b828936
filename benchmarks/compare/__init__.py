"""The comparison: ours beside Lambda Web Adapter, Mangum, hayate and Node.js, on the same events, in the same run.

    ./scripts/bench            # installs what it can of the peers, then measures

`driver` plays the Runtime API, `runtimes` knows how each peer is installed and started, `workloads` what is asked of
them and how an answer is checked, `process` what it costs, `report` makes the table and the picture.
"""
