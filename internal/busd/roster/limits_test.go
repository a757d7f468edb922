package roster_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/roster"
)

// grouped is a number with its thousands apart.
func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

func TestProtocolSaysTheLimitsThatHold(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, limits, _ := strings.Cut(string(page), "\n## Limits\n")
	for row, numbers := range roster.Limits() {
		_, line, found := strings.Cut(limits, "| "+row+" | ")
		line, _, _ = strings.Cut(line, "\n")
		if !found {
			t.Errorf("the page says nothing of: %s", row)
		}
		for _, n := range numbers {
			if !strings.Contains(" "+line, " "+grouped(n)) {
				t.Errorf("%s: the page does not say %s, but: %s", row, grouped(n), line)
			}
		}
	}
}

// TestOperatorSeesThatWorkersRegisterTooManyDifferentThings has workers that each register other paths.
func TestOperatorSeesThatWorkersRegisterTooManyDifferentThings(t *testing.T) {
	t.Parallel()
	r := listing(listed("flood"))
	var told []string
	for w := range 12 {
		j := join(fmt.Sprint("w", w), createRoom)
		for n := range 256 {
			j.WebResources = append(j.WebResources, fmt.Sprintf("%s/%d/%0200d", hello, w, n))
		}
		told = r.Join("flood", j, start).GetProblems()
	}
	says(t, told, "too many different things to remember")
	s := status(t, r, "flood")
	says(t, s.Problems, "too many different things to remember", "of them register, only callbacks count")
	says(t, []string{s.LastError}, "too many different things to remember")
	for w := 1; w < 12; w++ {
		r.Leave("flood", fmt.Sprint("w", w), start)
	}
	if s := status(t, r, "flood"); s.LastError != "" || len(s.Problems) > 0 {
		t.Errorf("it is over, and shown: %+v", s)
	}
}
