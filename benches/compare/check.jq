# Each target of limits.json with its figure: met, MISSED or NOT MEASURED.
def pad($n): tostring | . + (" " * ([0, $n - length] | max));
.ratios as $ratios
| [ $limits[0][] as $t | $t.cases[] as $c | { target: $t.target, what: $t.what, case: $c, of: $t.of, to: $t.to, figure: $t.figure, at_most: $t.at_most, below: $t.below,
      got: ([$ratios[] | select(.case == $c and .of == $t.of and .to == $t.to) | .[$t.figure].median][0]) }
    | .is = if .got == null then "NOT MEASURED" elif (.at_most != null and .got <= .at_most) or (.below != null and .got < .below) then "met" else "MISSED" end ]
| { targets: ., missed: (map(select(.is != "met")) | length),
    lines: map((.target | pad(3)) + (.what | pad(44)) + (.case | pad(12)) + ("\(.figure) to \(.to)" | pad(22))
      + (if .at_most then "at most \(.at_most)" else "below \(.below)" end | pad(16)) + (.got // "-" | pad(8)) + .is) }
