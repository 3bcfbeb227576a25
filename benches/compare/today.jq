# Samples of today.sh -> medians, and how many times a gate's figures portcullis' are in the same round. Given: $size, $pulls, $abouts, $machine.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def places($n): if . == null then null else pow(10; $n) as $p | (. * $p | round) / $p end;
def spread: if length == 0 then null else { median: (median | places(2)), least: (min | places(2)), most: (max | places(2)) } end;

map(.requests_per_second = .requests / .seconds | .pulls_per_second = .pulls / .seconds | .cpu_per_pull = .cpu_seconds / .pulls) as $samples
| { machine: $machine, size: $size, pulls_of_a_client: $pulls, gates: $abouts,
    rows: [ $samples | group_by([.image, .cost, .gate])[] | . as $cells | .[0] as $of
      | [ $samples[] | select(.gate == "portcullis" and .image == $of.image and .cost == $of.cost) ] as $ours
      | { image: $of.image, cost: $of.cost, gate: $of.gate, bytes_per_pull: ($of.bytes / $of.pulls | round), requests_per_pull: ($of.requests / $of.pulls),
          requests_per_second: ($cells | map(.requests_per_second) | median | places(1)), pulls_per_second: ($cells | map(.pulls_per_second) | median | places(2)),
          cpu_per_pull: ($cells | map(.cpu_per_pull) | median | places(4)),
          registry_cpu_per_pull: ($cells | map(.registry_cpu_seconds / .pulls) | median | places(4)),
          portcullis_faster: ([ $cells[] as $c | $ours[] | select(.round == $c.round) | .pulls_per_second / $c.pulls_per_second ] | spread),
          portcullis_cpu: ([ $cells[] as $c | $ours[] | select(.round == $c.round) | .cpu_per_pull / $c.cpu_per_pull ] | spread) } ],
    samples: $samples }
