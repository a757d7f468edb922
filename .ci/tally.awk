# Passes on what go test -v says of suites, one after the other, and counts. Fails where a suite of the list executed no
# test: a suite that cannot find what it needs must not pass by running nothing.
{ print }
/^--- PASS: / { passed++; here++ }
/^ *--- SKIP: / { skipped++; sub(/^ *--- SKIP: /, ""); names = names "skipped: " $0 "\n" }
/^--- FAIL: / { failed++; here++ }
/^(ok|FAIL)[ \t]+[^ \t]+\// {
	if (here) ran[$2] = 1
	here = 0
}
END {
	printf "%s", names
	n = split(suites, list, " ")
	for (i = 1; i <= n; i++) {
		suite = list[i]
		sub(/^\./, "", suite)
		found = 0
		for (name in ran) if (substr(name, length(name) - length(suite) + 1) == suite) found = 1
		if (!found) { printf "integration: %s executed no test\n", list[i]; empty = 1 }
	}
	printf "integration: %d passed, %d failed, %d skipped\n", passed, failed, skipped
	exit empty || failed || !passed
}
