def pad($n): tostring | . + (" " * ([0, $n - length] | max));
def spread: if . == null then "-" else "\(.median) [\(.least)..\(.most)]" end;
"\(.machine.cpu), \(.machine.cpus) CPUs, Linux \(.machine.kernel), load \(.machine.load_before) before; \(.machine.openssl)",
(.machine.programs | to_entries[] | "  \(.key): \(.value)"),
"",
(.gates | to_entries[] | "\(.key | pad(16))\(.value)"),
"",
"Fifty clients at once, each with its own name and password, pull twelve layers; \(.pulls_of_a_client) pull(s) each. CPU time is that of everything on the server: the gate",
"and the registry, on one CPU. Last two columns: how many times the gate's pulls a second portcullis makes, and its CPU time to the gate's.",
"",
("image" | pad(8)) + ("MiB" | pad(8)) + ("cost" | pad(6)) + ("gate" | pad(16)) + ("requests/s" | pad(12)) + ("pulls/s" | pad(10))
  + ("CPU-s/pull" | pad(12)) + ("registry's" | pad(12)) + ("portcullis x" | pad(24)) + "portcullis CPU",
(.rows[] | (.image | pad(8)) + ((.bytes_per_pull / 1048576 * 10 | round / 10) | pad(8)) + (.cost | pad(6)) + (.gate | pad(16))
  + (.requests_per_second | pad(12)) + (.pulls_per_second | pad(10))
  + (.cpu_per_pull | pad(12)) + (.registry_cpu_per_pull | pad(12)) + (.portcullis_faster | spread | pad(24)) + (.portcullis_cpu | spread))
