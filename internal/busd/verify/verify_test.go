package verify_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/verify"
)

// This program runs again as a module that breaks one rule.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "module" {
		runModule(os.Args[2])
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "pages" {
		runPages(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// patience is how long a module of the tests may take to join.
const patience = 5 * time.Second

// steps are the rules that have to be looked at before one of them can be.
func steps(rule string) []string {
	return []string{"starts", "joins", rule, map[string]string{"stays": "malformed", "refuses-change": "refuses-config"}[rule]}
}

func find(t *testing.T, r *verify.Report, rule string) verify.Result {
	t.Helper()
	i := slices.IndexFunc(r.Results, func(r verify.Result) bool { return r.Rule == rule })
	if i < 0 {
		t.Fatalf("there is no rule %s", rule)
	}
	return r.Results[i]
}

func options(how, breaks string) verify.Options {
	return verify.Options{Command: []string{os.Args[0], how, breaks}}
}

func TestVerifyFindsEachMistake(t *testing.T) {
	t.Parallel()
	ids, _ := verify.Rules()
	for _, rule := range ids {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			how := "module"
			if strings.HasPrefix(rule, "page") {
				how = "pages"
			}
			report := verify.Only(t, options(how, rule), patience, steps(rule)...)
			if r := find(t, report, rule); r.Verdict != verify.Broken || r.Why == "" || report.Correct {
				t.Errorf("a module that breaks the rule: %+v", r)
			}
			for _, r := range report.Results {
				if !slices.Contains(steps(rule)[2:], r.Rule) && r.Verdict == verify.Broken && rule != "starts" {
					t.Errorf("it breaks another one, too: %+v", r)
				}
			}
		})
	}
}

func TestVerifyFindsNothingWrongWithACorrectModule(t *testing.T) {
	t.Parallel()
	for how, skipped := range map[string]string{"module": "page", "pages": "answers"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			report, err := verify.Run(t.Context(), options(how, "nothing"))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range report.Results {
				if r.Verdict == verify.Broken {
					t.Errorf("%+v", r)
				}
			}
			if r := find(t, report, skipped); r.Verdict != verify.Skipped || r.Why == "" || !report.Correct {
				t.Errorf("what it does not have: %+v", r)
			}
		})
	}
}

func TestVerifyLeavesNoProcessThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	said := &bytes.Buffer{}
	o := options("module", "ends")
	o.Output = said
	verify.Only(t, o, patience, "starts", "joins", "unique")
	all := regexp.MustCompile(`process (\d+)`).FindAllStringSubmatch(said.String(), -1)
	if len(all) != 2 {
		t.Fatalf("%d processes started: %s", len(all), said)
	}
	for _, m := range all {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d still runs (%v)", pid, err)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestVerifySaysThatACommandDoesNotStart(t *testing.T) {
	t.Parallel()
	report, err := verify.Run(t.Context(), verify.Options{Command: []string{"/no/such/program"}})
	if err != nil {
		t.Fatal(err)
	}
	if r := find(t, report, "starts"); r.Verdict != verify.Broken || !strings.Contains(r.Why, "/no/such/program") {
		t.Errorf("%+v", r)
	}
	for _, rule := range []string{"answers", "stays"} {
		if r := find(t, report, rule); r.Verdict != verify.Skipped {
			t.Errorf("%+v", r)
		}
	}
	if got := report.Summary(); !strings.HasPrefix(got, "not a correct module: 0 rules kept, 1 broken, ") || !strings.HasSuffix(got, "; broken: starts") {
		t.Error(got)
	}
}

func TestVerifyShowsTheEndOfWhatAModuleSays(t *testing.T) {
	t.Parallel()
	o := verify.Options{Command: []string{"sh", "-c", "yes | head -c 100000; echo the end; exit 3"}}
	r := find(t, verify.Only(t, o, patience, "starts", "joins"), "starts")
	if lines := strings.Count(r.Why, "\n"); lines > 12 || !strings.HasSuffix(r.Why, "the end") || !strings.Contains(r.Why, "exit status 3") {
		t.Errorf("%d lines: %s", lines, r.Why)
	}
}

func TestRulesLinkToSectionsThatThereAre(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^##+ (.+)$`).FindAllStringSubmatch(string(page), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(m[1], "'", "")), " ", "-")] = true
	}
	ids, sections := verify.Rules()
	for i, id := range ids {
		if !anchors[sections[i]] {
			t.Errorf("rule %s links to %s, which is no section", id, sections[i])
		}
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != len(sections) {
		t.Error("two rules have one name")
	}
}

func TestReportIsJSONAndJUnit(t *testing.T) {
	t.Parallel()
	report := &verify.Report{Command: []string{"module"}, Results: []verify.Result{
		{Rule: "joins", Sentence: "Joins", Link: "page#life", Verdict: verify.Kept},
		{Rule: "drains", Sentence: "Drains", Link: "page#life", Verdict: verify.Broken, Why: "3 < 4 & lost"},
		{Rule: "page", Sentence: "Serves", Link: "page#web", Verdict: verify.Skipped, Why: "it has no pages"},
	}}
	var text bytes.Buffer
	if err := report.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var back verify.Report
	if err := json.Unmarshal(text.Bytes(), &back); err != nil || !slices.Equal(back.Results, report.Results) {
		t.Errorf("%v: %s", err, text.String())
	}
	text.Reset()
	if err := report.WriteJUnit(&text); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(text.Bytes(), &suite); err != nil || suite.Tests != 3 || suite.Failures != 1 || suite.Skipped != 1 {
		t.Fatalf("%v: %+v", err, suite)
	}
	if c := suite.Cases[1]; c.Name != "drains" || c.Failure == nil || c.Failure.Message != "3 < 4 & lost" {
		t.Errorf("%+v", c)
	}
}
