"""Checks deploy/observability: what the guide does not name is no metric, and what promtool cannot parse is no query.

    observability.py WORK        WORK: a folder for what promtool is shown

The guide's table is compared with the product by a test of the product.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path("deploy/observability")
GUIDE = Path("conf/guide/metrics.md")
VARIABLES = {
    "$__rate_interval": "5m",
    "$__interval": "1m",
    "$instance": ".*",
    "$registry": ".*",
    "$server": ".*",
}
PARTS = re.compile(r"_(bucket|sum|count)$")


def fail(text):
    sys.exit(f"observability.py: {text}")


def catalogue():
    """The metrics of the guide's table, with their labels."""
    found = {}
    for line in GUIDE.read_text().splitlines():
        row = re.match(r"\| `((?:portcullis|process)_\w+)` \| \w+ \| (.*?) \| ", line)
        if row:
            found[row[1]] = set(re.findall(r"`(\w+)`:", row[2]))
    if len(found) < 40:
        fail(f"{GUIDE} names {len(found)} metrics alone")
    return found


def plain(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    if "$" in expression:
        fail(f"an unknown variable in {expression}")
    return expression


def queries(dashboard):
    """Every query of a dashboard and where it stands."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target.get("legendFormat", "")
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"], ""
    for variable in dashboard["templating"]["list"]:
        values = re.match(r"label_values\((.*), \w+\)$", str(variable.get("definition", "")))
        if values:
            yield variable["name"], values[1], ""


def check_names(where, expression, known):
    text = re.sub(r'"[^"]*"', '""', expression)
    for selector in re.finditer(r"\b((?:portcullis|process)_\w+)(?:\{([^}]*)\})?", text):
        name, labels = selector[1], re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector[2] or "")
        metric = name if name in known else PARTS.sub("", name)
        if metric not in known:
            fail(f"{where}: {name} is no metric of {GUIDE}")
        unknown = set(labels) - known[metric] - {"job", "instance", "le"}
        if unknown:
            fail(f"{where}: {name} has no label {', '.join(sorted(unknown))}")


def check_dashboard(dashboard, known):
    if dashboard["schemaVersion"] < 38:
        fail("the dashboard is for a Grafana before 10")
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        fail("two panels have one id")
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if cells & taken or place["x"] + place["w"] > 24:
            fail(f"{panel['title']} stands on another panel")
        taken |= cells
        for one in [panel, *panel.get("targets", [])]:
            if panel["type"] != "row" and one["datasource"]["uid"] != "${datasource}":
                fail(f"{panel['title']} has a data source of its own")
    shown = " ".join(expression for _, expression, _ in queries(dashboard))
    unseen = [name for name in known if name not in shown]
    # The address space says little, and the most files stand in an alert.
    if set(unseen) - {"process_virtual_memory_bytes", "process_max_fds"}:
        fail(f"no panel shows {', '.join(unseen)}")


def main(work):
    known = catalogue()
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    check_dashboard(dashboard, known)
    found = list(queries(dashboard))
    for where, expression, _ in found:
        check_names(where, expression, known)
    rules = (FOLDER / "prometheus-rules.yml").read_text()
    for expression in re.findall(r"expr: (?:>-\n((?: {10}.*\n)+)|(.*))", rules):
        check_names("prometheus-rules.yml", "".join(expression), known)
    for block in re.findall(r"```promql\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        found += [(str(GUIDE), line, "") for line in block.splitlines()]
    records = [{"record": f"query:{number}", "expr": plain(expression)} for number, (_, expression, _) in enumerate(found)]
    # JSON is YAML.
    file = work / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": records}]}))
    subprocess.run(["promtool", "check", "rules", str(file)], check=True)


main(Path(sys.argv[1]))
