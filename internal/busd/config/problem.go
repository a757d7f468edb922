package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	// File is the file's name, as it was given to [Read] or [Parse].
	File string

	// Line and Column are where the mistake is, counted from 1.
	Line, Column int

	// Path is where it is inside the configuration, such as modules[1].timeout. Empty for the file as a whole.
	Path string

	// Text says what is wrong, and what to do.
	Text string
}

// String returns the problem as editors and people expect it: busd.yaml:12:5: modules[1].timeout: what is wrong.
func (p Problem) String() string {
	text := p.Text
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, text)
}

// Errors are all problems of a file, in the order of the file. Never empty when returned.
type Errors []Problem

// Error returns the problems, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sort puts the problems in order of position; those at one position stay as they were found.
func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// maxQuoted is how many bytes of a value a problem repeats. Beyond: it is cut.
const maxQuoted = 64

// quote returns s for use in a problem: on one line, and short.
func quote(s string) string {
	runes := []rune(s[:min(len(s), 4*maxQuoted)])
	if len(runes) <= maxQuoted {
		return strconv.Quote(s)
	}
	return strconv.Quote(string(runes[:maxQuoted])) + "…"
}
