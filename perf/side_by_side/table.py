"""From rounds to a verdict, and from verdicts to a table and a report."""

import html
import json
from dataclasses import asdict, dataclass

from .measure import Load, Result, SetUps, best, delivered_rate, search

COLUMNS = ["case", "unit", "adit", "other", "", "times", "must", "aim", "", "CPU times", "adit kernel", "other kernel"]
NOTE = """≥: the load was at its own limit, the server may do better; a ratio to it is a bound too.
CPU times: how often one packet or set-up of Adit's fits into the processor time of one of the other's.
Adit's time is its worker's busy share and its other threads, others' is the time of their processes.
kernel: the share of that time that the server's core spent in the kernel, on packets and interrupts:
that is I/O, and on veth also the far end's side of every packet that the server sends."""


def median(results):
    """The middle one of the rounds by its rate."""
    return sorted(results, key=lambda result: result.rate)[(len(results) - 1) // 2]


@dataclass
class Row:
    """One case: Adit beside another server."""

    case: object
    results: dict

    def __post_init__(self):
        self.adit, self.other = (median(self.results[name]) for name in self.case.servers)

    @property
    def times(self):
        return self.adit.rate / self.other.rate

    @property
    def cpu_times(self):
        return self.other.cpu_us / max(self.adit.cpu_us, 1e-9)

    @property
    def verdict(self):
        """A ratio to a bound of the other's proves nothing; a bound of Adit's may still be enough."""
        if self.other.is_bound:
            return "not shown: the load is the limit of both" if self.adit.is_bound else "NOT SHOWN"
        if self.times >= self.case.aim:
            return "aim met"
        if self.times >= self.case.must:
            return "met"
        return "not shown: the load is the limit" if self.adit.is_bound else "NOT MET"

    def cells(self):
        rate = lambda result: f"{'≥' if result.is_bound else ''}{result.rate:.0f}"
        mark = "≥" if self.adit.is_bound else ""
        return [self.case.name, self.case.unit, rate(self.adit), rate(self.other), self.case.servers[1],
                f"{mark}{self.times:.1f}", f"{self.case.must}", f"{self.case.aim}", self.verdict,
                f"{self.cpu_times:.1f}", f"{self.adit.kernel_share:.0%}", f"{self.other.kernel_share:.0%}"]

    def whole(self):
        rounds = {name: [asdict(result) for result in results] for name, results in self.results.items()}
        return asdict(self.case) | {"times": self.times, "cpu_times": self.cpu_times, "verdict": self.verdict,
                                    "rounds": rounds}


def aligned(rows):
    """Rows of cells in columns: numbers to the right, words to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    words = {0, 1, 4, 8}
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if column in words else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def remarks(rows):
    """What a round did not do as it should."""
    return [f"{row.case.name}, {name}: {result.remark}"
            for row in rows for name, results in row.results.items() for result in results if result.remark]


def text(head, rows):
    first = "\n".join(f"{key:8} {value}" for key, value in head.items())
    parts = [first, aligned([COLUMNS, *(row.cells() for row in rows)]), *remarks(rows), NOTE]
    return "\n\n".join(part for part in parts if part)


def whole(head, rows):
    return head | {"cases": [row.whole() for row in rows]}


def earlier(directory):
    """What a report that is there has found: case to server to rounds."""
    file = directory / "run.json"
    cases = json.loads(file.read_text())["cases"] if file.exists() else []
    return {case["name"]: {name: [Result(**result) for result in results] for name, results in case["rounds"].items()}
            for case in cases}


def write(directory, head, rows):
    """`run.json` with every measurement, `table.txt`, and `report.html` that needs no other file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.json").write_text(json.dumps(whole(head, rows), indent=1) + "\n")
    (directory / "table.txt").write_text(text(head, rows) + "\n")
    (directory / "report.html").write_text(page(head, rows))


def page(head, rows):
    row = lambda cells, tag="td": "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
    table = lambda lines: "<table>" + "".join(lines) + "</table>"
    steps = "".join(f"<h2>{html.escape(one.case.name)}</h2>{table(step_lines(one, row))}"
                    for one in rows if isinstance(one.case, Load))
    style = ("body{font:15px sans-serif;max-width:75em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
             "td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:right}"
             "td:first-child,th:first-child{text-align:left}pre{white-space:pre-wrap}")
    told = html.escape("\n".join(f"{key}: {value}" for key, value in head.items()))
    return (f"<!doctype html><meta charset=utf-8><title>Side by side</title><style>{style}</style>"
            f"<h1>Side by side</h1><pre>{told}</pre>{table([row(COLUMNS, 'th'), *(row(one.cells()) for one in rows)])}"
            f"<pre>{html.escape(NOTE)}</pre>{steps}\n")


def step_lines(one, row):
    """Every step of every search."""
    yield row(["server", "round", "offered/s", "sent/s", "delivered/s", "lost", "missed by the load", "µs each"], "th")
    for name, results in one.results.items():
        for number, result in enumerate(results, 1):
            for step in result.steps:
                rates = [f"{step[key]:.0f}" for key in ("offered", "sent", "delivered")]
                shares = [f"{step[key]:.2f} %" for key in ("loss_percent", "missed_percent")]
                yield row([name, str(number), *rates, *shares, f"{step['cpu_us']:.2f}"])


def self_test():
    """The arithmetic, against servers that are made up."""
    def server(capacity, load_limit):
        def step(rate):
            sent = min(rate, load_limit)
            delivered = min(sent, capacity)
            return {"offered": rate, "sent": sent, "delivered": delivered, "loss_percent": 100 * (1 - delivered / sent),
                    "missed_percent": 100 * (1 - sent / rate), "cpu_us": 1e6 / capacity, "kernel_share": 0.5}
        return best(*search(step))

    slow, fast, capped = server(67_000, 10**9), server(400_000, 10**9), server(400_000, 150_000)
    assert 0.94 * 67_000 < slow.rate <= 67_000 and not slow.is_bound, slow
    assert 0.85 * 400_000 < fast.rate <= 400_000 and not fast.is_bound, fast
    assert capped.rate == 150_000 and capped.is_bound, capped
    tiny = server(30_000, 10**9)
    assert 0.85 * 30_000 < tiny.rate <= 30_000, tiny

    late = {"received": 1000, "packets_per_second": 1000.0, "latency_us": {"max": 250_000}}
    assert delivered_rate(late) == 800 and delivered_rate(late | {"received": 0}) == 0

    case = Load("64-up", 64, "up", 4, 6)
    row = lambda adit, other: Row(case, {"adit": [adit], "softether": [other]})
    result = lambda rate, is_bound=False: Result(rate, 1e6 / rate, 0.5, is_bound)
    verdicts = [row(result(mine, is_bound), result(10)).verdict
                for mine, is_bound in [(39, False), (40, False), (60, False), (39, True), (60, True)]]
    assert verdicts == ["NOT MET", "met", "aim met", "not shown: the load is the limit", "aim met"], verdicts
    assert row(result(60), result(10, True)).verdict == "NOT SHOWN", "a bound of the other's proves nothing"
    assert abs(row(result(40), result(10)).cpu_times - 4) < 1e-9
    middle = Row(case, {"adit": [result(40), result(90), result(10)], "softether": [result(10)]})
    assert middle.times == 4, middle.times

    rows = [row(result(60), result(10)), Row(SetUps("set-ups", 300, 5, 5), {
        "adit": [Result(50, 1, 0.1, remark="299 of 300 came up")], "softether": [result(10)]})]
    head = {"date": "2026-11-22", "machine": "a <machine>"}
    lines = aligned([COLUMNS, *(one.cells() for one in rows)]).splitlines()
    at = [line.index("aim met") for line in lines[1:]]
    assert len(lines) == 3 and at[0] == at[1], lines
    assert "299 of 300 came up" in text(head, rows) and "a &lt;machine&gt;" in page(head, rows)
    json.dumps(whole(head, rows))
    print("1 passed, 0 failed")
