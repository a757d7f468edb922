package docs_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

const (
	alertRules = "deploy/prometheus/modulebus.rules.yaml"
	alertTests = "deploy/prometheus/modulebus.rules.test.yaml"
	dashboard  = "deploy/grafana/modulebus.json"
)

var metricName = regexp.MustCompile(`modulebus_[a-z_]+`)

// TestAlertsAndDashboardNameMetricsThatThereAre holds them to the page, which is held to what busd exposes.
func TestAlertsAndDashboardNameMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	there := documentedMetrics(t)
	bucket := regexp.MustCompile(`_bucket$`)
	for _, file := range []string{alertRules, alertTests, dashboard} {
		names := metricName.FindAllString(read(t, file), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range names {
			if _, ok := there[bucket.ReplaceAllString(name, "")]; !ok {
				t.Errorf("%s names %s, which is not in docs/operating.md", file, name)
			}
		}
	}
}

func TestDashboardIsJSONWithAQueryInEachPanel(t *testing.T) {
	t.Parallel()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboard)), &board); err != nil || len(board.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(board.Panels), err)
	}
	for _, p := range board.Panels {
		if p.Title == "" || len(p.Targets) == 0 || !metricName.MatchString(p.Targets[0].Expr) {
			t.Errorf("panel %q asks for %v", p.Title, p.Targets)
		}
	}
}

// TestAlertsFireWhenPromtoolSaysSo has Prometheus's own tool read the rules, and run their tests.
func TestAlertsFireWhenPromtoolSaysSo(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool (on Debian, it comes with the package prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", filepath.Base(alertRules)}, {"test", "rules", filepath.Base(alertTests)}} {
		tool := exec.CommandContext(t.Context(), promtool, args...)
		tool.Dir = filepath.Join(root, filepath.Dir(alertRules))
		if out, err := tool.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
