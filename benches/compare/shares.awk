# `perf report -F overhead,sym` -> what each crate takes; see README.md.
$2 == "[k]" { share["the kernel"] += $1; next }
$2 == "[.]" {
  part = $1; $1 = $2 = ""
  gsub(/\[[0-9a-f]+\]/, ""); sub(/^[ <&*]*(mut )?/, "")
  if (match($0, /^[a-z0-9_]+::/)) name = substr($0, 1, RLENGTH - 2)
  else if (/^_?rjem_|^je_/) name = "jemalloc"
  else if (/^aws_lc_|^AWSLC|^aes_|^aead_|^gcm_|^sha[0-9]+_|^ecp_|^p256_|^bn_/) name = "aws-lc"
  else if (/^__mem|^__[ie]?mem|^mem/) name = "libc: copying and comparing memory"
  else name = "others, libc"
  share[name] += part
}
END { for (name in share) printf "%6.2f %%  %s\n", share[name], name }
