package restarts_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// record is one ask, and what came of it.
type record struct {
	user    string
	guesses bool
	listed  map[string]bool // modules of which it was certain all the time that they are on the list, or that they are not
	status  int
	body    []byte
}

// decision is what busd answers.
type decision struct {
	Answer struct {
		Refusal *struct{ Error string }
	}
	DecidedBy string `json:"decided_by"`
	Failures  []struct{ Module, Failure, Policy string }
	Module    string // of an error
	Revision  uint64 `json:"roster_revision"`
}

// mayDecide wants a module that had to do with a decision to be on the list.
func (r record) mayDecide(t *rapid.T, module string) {
	if listed, certain := r.listed[module]; certain && !listed {
		t.Errorf("%s: module %s is not on the list: %s", r.user, module, r.body)
	}
}

// check holds a decision against what the modules on the list would have said. It counts what failed.
func (r record) check(t *rapid.T, s *stage, failures map[string]int) {
	var d decision
	if err := json.Unmarshal(r.body, &d); err != nil {
		t.Fatalf("%s: %v in %s", r.user, err, r.body)
	}
	policies, failed, named := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, m := range modules {
		policies[m.name], named[m.name] = m.policy, m.named
	}
	for _, f := range d.Failures {
		r.mayDecide(t, f.Module)
		failures[f.Module+" "+f.Failure]++
		failed[f.Module] = f.Policy
		_, certain := r.listed[f.Module]
		unheard := f.Failure == "absent" && f.Policy == "skip" && !named[f.Module] && (r.guesses || !certain) // Told, since nobody knows what it wants.
		if f.Policy != policies[f.Module] && !unheard {
			t.Errorf("%s: module %s failed under %s, which is not what the operator says: %s", r.user, f.Module, f.Policy, r.body)
		}
	}
	r.mayDecide(t, cmp.Or(d.DecidedBy, d.Module))
	if r.status == http.StatusBadGateway {
		failures[d.Module+" fails"]++
		if policies[d.Module] != "fail" {
			t.Errorf("%s: module %s must not fail an ask: %s", r.user, d.Module, r.body)
		}
		return
	}
	if d.Answer.Refusal != nil {
		if !refuses(d.DecidedBy, r.user) && failed[d.DecidedBy] != "refuse" {
			t.Errorf("%s: module %s neither refuses nor failed: %s", r.user, d.DecidedBy, r.body)
		}
		return
	}
	for _, m := range modules {
		policy, failing := failed[m.name]
		switch {
		case failing && policy != "skip":
			t.Errorf("%s: allowed, although module %s failed: %s", r.user, m.name, r.body)
		case !failing && refuses(m.name, r.user) && r.listed[m.name] && (m.named || !r.guesses):
			t.Errorf("%s: allowed, although module %s refuses, and nothing says that it failed: %s%s", r.user, m.name, r.body, s.rosterOf(d.Revision))
		}
	}
}

// asked is the revision of the roster that a busd asks by.
func (s *stage) asked(d *daemon) uint64 {
	var is struct {
		Revision uint64 `json:"roster_revision"`
	}
	if _, body := s.get(d.url + "/_modulebus/v1/modules"); json.Unmarshal(body, &is) != nil {
		return 0
	}
	return is.Revision
}

// ask asks a busd until the round ends, and takes down what came of it.
func (s *stage) ask(d *daemon) {
	for {
		r := record{user: fmt.Sprintf("@u%d:%s", s.users.Add(1), serverName), guesses: s.guesses.Load(), listed: map[string]bool{}}
		before := s.certain()
		body := fmt.Sprintf(`{"user_id":%s}`, quoted(r.user))
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, d.url+"/_modulebus/v1/ask/"+strings.ReplaceAll(callback, ".", "/"),
			bytes.NewReader([]byte(body)))
		pause := 100 * time.Millisecond // where nobody answers
		if resp, err := s.client.Do(req); err == nil {
			r.status = resp.StatusCode
			if r.body, err = io.ReadAll(resp.Body); err != nil {
				r.status = 0
			}
			_ = resp.Body.Close()
		}
		if r.status == http.StatusOK || r.status == http.StatusBadGateway {
			pause = 2 * time.Millisecond
			for name, l := range s.certain() {
				if was, ok := before[name]; ok && was == l {
					r.listed[name] = l.listed
				}
			}
			s.mu.Lock()
			s.records = append(s.records, r)
			s.mu.Unlock()
		}
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
	}
}
