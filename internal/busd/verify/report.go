package verify

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Line is the result for people: one line, and a second one if there is more to say.
func (r Result) Line() string {
	mark := map[Verdict]string{Kept: "ok", Broken: "FAIL", Skipped: "skip"}[r.Verdict]
	line := fmt.Sprintf("%-4s  %-17s  %s", mark, r.Rule, r.Sentence)
	switch r.Verdict {
	case Broken:
		return line + "\n      " + r.Why + "\n      see " + r.Link
	case Skipped:
		return line + " (" + r.Why + ")"
	case Kept:
	}
	return line
}

// Result is the result for one rule.
type Result struct {
	Rule     string  `json:"rule"`
	Sentence string  `json:"sentence"` // what every module does
	Link     string  `json:"link"`     // the section that explains it
	Verdict  Verdict `json:"verdict"`
	Why      string  `json:"why,omitempty"` // what was seen, or why the rule was skipped
}

// Summary is the report in one line, with the names of the rules that are broken.
func (r *Report) Summary() string {
	rules := map[Verdict][]string{}
	for _, result := range r.Results {
		rules[result.Verdict] = append(rules[result.Verdict], result.Rule)
	}
	counts := fmt.Sprintf("correct module: %d rules kept, %d broken, %d skipped", len(rules[Kept]), len(rules[Broken]), len(rules[Skipped]))
	if r.Correct {
		return "a " + counts
	}
	return "not a " + counts + "; broken: " + strings.Join(rules[Broken], ", ")
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit's XML, with a test case for each rule.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{Name: "busd verify", Tests: len(r.Results)}
	for _, result := range r.Results {
		c := junitCase{Class: "protocol", Name: result.Rule}
		m := &junitMessage{result.Why, result.Sentence + " (" + result.Link + ")"}
		switch result.Verdict {
		case Broken:
			suite.Failures++
			c.Failure = m
		case Skipped:
			suite.Skipped++
			c.Skipped = m
		case Kept:
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	return e.Encode(suite)
}

// Report is the result for a module.
type Report struct {
	Command []string `json:"command"`
	Correct bool     `json:"correct"` // no rule is broken
	Results []Result `json:"results"`
}
