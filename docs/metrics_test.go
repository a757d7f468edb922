package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedMetrics and exposedMetrics are labels by the metric's name.
func documentedMetrics(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, row := range rows(section(t, "docs/operating.md", "## Metrics")) {
		if name := coded(row[0]); name != nil {
			found[name[0]] = slices.Sorted(slices.Values(coded(row[1])))
		}
	}
	return found
}

var sample = regexp.MustCompile(`(?m)^(modulebus_[a-z_]+?)(?:_bucket)?(?:\{(.*)\})? [0-9.e+]+$`)

func exposedMetrics(text string) map[string][]string {
	found := map[string][]string{}
	for _, m := range sample.FindAllStringSubmatch(text, -1) {
		if strings.HasSuffix(m[1], "_seconds_sum") || strings.HasSuffix(m[1], "_seconds_count") {
			continue
		}
		var labels []string
		for label := range strings.SplitSeq(m[2], `",`) {
			if name, _, ok := strings.Cut(label, "="); ok && name != "le" {
				labels = append(labels, name)
			}
		}
		found[m[1]] = slices.Sorted(slices.Values(labels))
	}
	return found
}
