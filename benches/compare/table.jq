# The report as the tables that a person reads.
def pad($n): tostring | . + (" " * ([0, $n - length] | max));
def spread: if . == null then "-" else "\(.median) [\(.least)..\(.most)]" end;
def unique_in_order: reduce .[] as $x ([]; if index([$x]) then . else . + [$x] end);

"\(.machine.cpu), \(.machine.cpus) CPUs, Linux \(.machine.kernel), load \(.machine.load_before) before; \(.machine.openssl)",
(.machine.programs | to_entries[] | "  \(.key): \(.value)"),
"\(.settings.size), \(.settings.rounds) rounds, \(.settings.tls); access logs \(.settings.access_logs); uploads to \(.settings.uploads_to)",
"",
"RATIOS of portcullis to each peer: CPU time per unit, median of the rounds [least..most]; below 1 is less. portcullis verifies a",
"token in each request, asks its policy and keeps metrics; the peers ask nobody for anything, and have that advantage.",
(.unit as $unit | .ratios as $all | ([$all[].of] | unique_in_order)[] as $of | ([$all[] | select(.of == $of).to] | unique_in_order) as $peers
  | "", ("\($of), per" | pad(30)) + ($peers | map("to \(.)" | pad(24)) | join("")),
    (([$all[] | select(.of == $of).case] | unique_in_order)[] as $c
      | ("  \($c)" | pad(13)) + ($unit[$c] | pad(17))
        + ($peers | map(. as $p | [$all[] | select(.of == $of and .case == $c and .to == $p).cpu][0] | spread | pad(24)) | join("")))),
(if any(.ratios[]; .p99) then
  "", "RATIOS of p50 and p99 at a fixed rate",
  (.ratios[] | select(.p99) | "  " + (.case | pad(12)) + ("\(.of) to \(.to)" | pad(36)) + ("p50 \(.p50 | spread)" | pad(30)) + "p99 \(.p99 | spread)")
else empty end),
"",
"THIS MACHINE, medians: CPU seconds per unit [least..most], units a second, peak MiB, growth of the resident memory, p50 and p99 in ms",
(.unit as $unit | .medians[] | "  " + (.case | pad(12)) + (.proxy | pad(16)) + ("\(.cpu_per_unit) [\(.cpu_least)..\(.cpu_most)]" | pad(34))
  + ("\(.units_per_second) \($unit[.case])/s" | pad(30)) + (.peak_mib | pad(10)) + ("+\(.rss_growth_mib)" | pad(10)) + (if .p99_ms then "\(.p50_ms) \(.p99_ms)" else "" end))
