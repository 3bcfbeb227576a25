# samples (round, proxy, case, cpu, wall, amount, peak, growth, p50, p99) -> medians and ratios.
# Given: $cases, $variants (words), $kinds (case -> unit), $machine, $settings.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def places($n): if . == null then null else pow(10; $n) as $p | (. * $p | round) / $p end;
def number: if . == "-" then null else tonumber end;
def over($other): if . == null or $other == null or $other == 0 then null else . / $other end;

def rows: split("\n") | map(select(length > 0) | split("\t") | {
  round: (.[0] | tonumber), proxy: .[1], case: .[2], cpu_seconds: (.[3] | tonumber), wall_seconds: (.[4] | tonumber), amount: (.[5] | tonumber),
  peak_kib: (.[6] | tonumber), rss_growth_kib: (.[7] | tonumber), p50_us: (.[8] | number), p99_us: (.[9] | number) } | .cpu = .cpu_seconds / .amount);

def medians: {
  case: .[0].case, proxy: .[0].proxy, runs: length,
  cpu_per_unit: (map(.cpu) | median | places(6)), cpu_least: (map(.cpu) | min | places(6)), cpu_most: (map(.cpu) | max | places(6)),
  units_per_second: (map(.amount / .wall_seconds) | median | places(3)),
  peak_mib: (map(.peak_kib / 1024) | median | places(2)), rss_growth_mib: (map(.rss_growth_kib / 1024) | median | places(2)),
  p50_ms: (map(.p50_us | values / 1000) | median | places(3)), p99_ms: (map(.p99_us | values / 1000) | median | places(3)) };

# Of two lists of samples: each round's own ratio first, so that what a round had around it is on both sides.
def ratios($figure; $peers): [ .[] as $a | $peers[] | select(.round == $a.round) as $b | ($a | .[$figure]) | over($b | .[$figure]) | values ]
  | if length == 0 then null else { median: (median | places(3)), least: (min | places(3)), most: (max | places(3)) } end;

rows as $samples
| ($cases | split(" ")) as $cases | ($variants | split(" ")) as $variants
| ($samples | group_by([.case, .proxy]) | map({ key: "\(.[0].case) \(.[0].proxy)", value: . }) | from_entries) as $at
| { machine: $machine, settings: $settings, unit: $kinds,
    medians: [ $cases[] as $c | $variants[] as $v | $at["\($c) \($v)"] | values | medians ],
    ratios: [ $cases[] as $c | $variants[] | select(startswith("portcullis")) as $v | $at["\($c) \($v)"] | values as $ours
      | $variants[] | select(startswith("portcullis") | not) as $to | $at["\($c) \($to)"] | values as $peer
      | { case: $c, of: $v, to: $to, cpu: ($ours | ratios("cpu"; $peer)), peak_memory: ($ours | ratios("peak_kib"; $peer)),
          p50: ($ours | ratios("p50_us"; $peer)), p99: ($ours | ratios("p99_us"; $peer)) } ],
    samples: $samples }
