def pad($n): tostring | . + (" " * ([0, $n - length] | max));
def mib: . / 1024 * 10 | round / 10;
"\(.machine.cpu), Linux \(.machine.kernel); limits.buffers of portcullis is \(.limits_buffers)",
(.machine.programs | to_entries[] | "  \(.key): \(.value)"),
"",
"KiB for each of what is held (PSS, RSS), MiB of the whole process then; how many were answered with what, or not",
(("what" | pad(18)) + ("proxy" | pad(14)) + ("PSS each" | pad(12)) + ("RSS each" | pad(12)) + ("PSS in all" | pad(12)) + ("peak" | pad(10)) + "answers"),
(.held[] | ("\(.what) x \(.count)" | pad(18)) + (.proxy | pad(14)) + (.each.pss_kib | pad(12)) + (.each.rss_kib | pad(12))
  + (.after.pss_kib | mib | pad(12)) + (.after.peak_kib | mib | pad(10)) + (.answers | to_entries | map("\(.key): \(.value)") | join(", "))),
"",
"MiB at the peak of one download and one upload",
([.bodies[].size] | unique) as $sizes | (.bodies | group_by(.proxy)[] | (.[0].proxy | pad(14)) + (map("\(.size): \(.peak_kib | mib)" | pad(20)) | join("")))
