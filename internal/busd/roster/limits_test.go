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
