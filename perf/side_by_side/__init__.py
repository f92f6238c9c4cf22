"""What `perf/compare` is made of.

    network.py    three namespaces, and who is pinned where
    servers.py    Adit, SoftEther, xl2tpd: how they start and what they cost
    measure.py    the cases: stepped load, complete set-ups, set-ups of plain L2TP
    l2tp.py       an L2TP client of tunnels and sessions without PPP
    table.py      ratios, verdicts, the table and the report
"""
