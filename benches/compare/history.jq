# A report of compare.sh -> rows for history.csv: date, commit, case, proxy, ratio to tuned nginx, $note. $cases: those that moved.
.machine as $machine | .ratios[] | select(.to == "nginx" and .cpu != null) | select(.case as $c | $cases | split(",") | index([$c]))
| [$machine.date, $machine.commit, .case, .of, .cpu.median, $note] | map(tostring | if test("[,\"]") then "\"" + gsub("\""; "\"\"") + "\"" else . end) | join(",")
