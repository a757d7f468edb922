package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// maxRefusals bounds how many of NATS's refusals are kept. Beyond: further ones are dropped.
const maxRefusals = 16

// refusals is the NATS server's log. It keeps the lines about what modules may not do.
type refusals struct {
	mu   sync.Mutex
	list []string
}

// Write implements [io.Writer].
func (r *refusals) Write(line []byte) (int, error) {
	var entry struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(line, &entry) != nil {
		return len(line), nil
	}
	_, what, refused := strings.Cut(entry.Message, "Violation - ")
	r.mu.Lock()
	defer r.mu.Unlock()
	if what = withoutUser(what); refused && len(r.list) < maxRefusals && !slices.Contains(r.list, what) {
		r.list = append(r.list, what)
	}
	return len(line), nil
}

// withoutUser removes the user from a log line: it is always the module.
func withoutUser(text string) string {
	before, after, _ := strings.Cut(text, `JWT User "`)
	if _, rest, found := strings.Cut(after, `", `); found {
		return before + rest
	}
	return text
}

func (r *refusals) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}
