# samples (round, proxy, case, cpu, wall, amount, kib) -> medians and ratios
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def round3: if . == null then null else (. * 1000 | round) / 1000 end;
def rows: split("\n") | map(select(length > 0) | split("\t")
  | { round: (.[0] | tonumber), proxy: .[1], case: .[2], cpu_seconds: (.[3] | tonumber), wall_seconds: (.[4] | tonumber),
      amount: (.[5] | tonumber), peak_kib: (.[6] | tonumber) });

rows as $samples
| ($order | split(" ")) as $cases | ($proxies | split(" ")) as $names
| ([ $cases[] as $c | $names[] as $n | [ $samples[] | select(.case == $c and .proxy == $n) ] ] | map({
    case: .[0].case, proxy: .[0].proxy, runs: length,
    cpu_per_unit: (map(.cpu_seconds / .amount) | median | . * 1e6 | round / 1e6),
    cpu_min: (map(.cpu_seconds / .amount) | min | . * 1e6 | round / 1e6),
    cpu_max: (map(.cpu_seconds / .amount) | max | . * 1e6 | round / 1e6),
    units_per_second: (map(.amount / .wall_seconds) | median | round3),
    peak_mib: (map(.peak_kib / 1024) | median | round3) })) as $medians
| ($medians | map({ key: "\(.case) \(.proxy)", value: . }) | from_entries) as $at
| { machine: $machine, settings: $settings, unit: { get: "GiB", get16: "GiB", put: "GiB", h2get: "GiB", manifest: "1000 requests" },
    base: $base, medians: $medians, samples: $samples,
    ratios: [ $cases[] as $c | $names[] | select(. != $base) as $n | $at["\($c) \($base)"] as $ours | $at["\($c) \($n)"] as $peer
      | { case: $c, of: $base, to: $n, cpu: ($ours.cpu_per_unit / $peer.cpu_per_unit | round3),
          peak_memory: ($ours.peak_mib / $peer.peak_mib | round3) } ] }
