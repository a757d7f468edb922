package roster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// State is the state of a module.
type State string

// The states of a module.
const (
	Ready    State = "ready"    // workers have joined
	Starting State = "starting" // busd runs it, and no worker has joined yet
	Absent   State = "absent"   // it is listed, and has no worker
	Failed   State = "failed"   // its configuration was refused, its process ends again and again, or its server is down
	Unlisted State = "unlisted" // it has joined, and the roster does not list it
)

// Status describes a module's state to people and programs.
type Status struct {
	Name         string    `json:"name"`
	Order        int       `json:"order"` // from 1, in the roster; 0 is unlisted
	State        State     `json:"state"`
	Shadow       bool      `json:"shadow,omitempty"` // it is asked, and never counts
	Since        time.Time `json:"since,omitzero"`   // when its state last changed
	Version      string    `json:"version,omitempty"`
	Workers      int       `json:"workers"`
	Processes    int       `json:"-"` // of the module that busd runs
	Callbacks    []string  `json:"callbacks"`
	WebResources []string  `json:"web_resources"`

	// LastError is why it is not ready, or what is wrong with it although it is. If LastErrorOver is set, it is the last
	// thing that went wrong, and is over. LastErrorAt is when that happened; absent for a lasting problem.
	LastError     string    `json:"last_error,omitempty"`
	LastErrorAt   time.Time `json:"last_error_at,omitzero"`
	LastErrorOver bool      `json:"last_error_over,omitempty"`

	// Problems are what is wrong now. A module with problems is not well, whatever its state.
	Problems []string `json:"problems,omitempty"`

	// Remembered tells that it has not joined since busd started: its callbacks are those that it registered earlier, or
	// that the operator named.
	Remembered bool `json:"remembered,omitempty"`

	// Unknown tells that it has never joined and that its entry names no callbacks: it is not known what it wants, and it
	// is asked nothing.
	Unknown bool `json:"unknown,omitempty"`

	// Restarts counts its processes that ended without being asked to and were started again, since busd started.
	Restarts int `json:"restarts,omitempty"`

	// WorkerList has each worker, by name.
	WorkerList []Worker `json:"worker_list,omitempty"`

	// Failing are the callbacks that it failed to answer when it was last asked.
	Failing []Failing `json:"failing,omitempty"`

	// News is what is stored for it until it has handled it; nil if nothing is or was.
	News *News `json:"news,omitempty"`

	unwell bool // it does not work
}

// Worker is one worker of a module.
type Worker struct {
	Name    string    `json:"name"`
	Version string    `json:"version,omitempty"`
	Since   time.Time `json:"since"` // when it joined
}

// Failing is a callback that a module failed to answer when it was last asked. The log has the module's own words.
type Failing struct {
	Callback string    `json:"callback"`
	Failure  string    `json:"failure"` // such as timeout
	At       time.Time `json:"at"`
	InARow   int       `json:"in_a_row"`     // failures since the last answer
	Open     bool      `json:"breaker_open"` // it is not asked at the moment
	Recent   bool      `json:"-"`            // the failure says something of the present state
}

// News is what is stored for a module to which news is delivered at least once.
type News struct {
	Waiting uint64    `json:"waiting"`           // how many pieces
	Oldest  time.Time `json:"oldest,omitzero"`   // when the first of them was stored
	Failure string    `json:"failure,omitempty"` // why the last delivered piece was not handled
}

// addNews adds the stored news. If the module does not handle it, that is a problem, although everything else may work.
func (s *Status) addNews(news map[string]News) {
	n, kept := news[s.Name]
	if !kept {
		return
	}
	s.News = &n
	if n.Waiting > 0 && n.Failure != "" && !s.Troubled() {
		s.trouble(fmt.Sprintf("%d pieces of news wait: %s", n.Waiting, n.Failure), time.Time{})
	}
}

// Well reports whether the module works: its workers have joined, they can be asked what they registered, and it does
// not fail all the time.
func (s *Status) Well() bool { return s.State == Ready && !s.unwell }

// failsAllTheTime is how many failures in a row make a module unwell.
const failsAllTheTime = 5

// addFailing adds what is known of asking the module.
func (s *Status) addFailing(all []Failing) {
	all = slices.DeleteFunc(all, s.outlived)
	s.Failing = all
	for _, f := range all {
		s.unwell = s.unwell || f.Recent && (f.Open || f.InARow >= failsAllTheTime)
	}
	if len(all) == 0 || s.Troubled() {
		return
	}
	last := slices.MaxFunc(all, func(a, b Failing) int { return a.At.Compare(b.At) })
	s.trouble(last.text(), last.At)
}

// outlived reports whether each worker there is has joined since the module failed: those that failed are gone.
func (s *Status) outlived(f Failing) bool {
	failed := func(w Worker) bool { return !w.Since.After(f.At) }
	return len(s.WorkerList) > 0 && !f.Open && !slices.ContainsFunc(s.WorkerList, failed)
}

// Troubled reports whether something is wrong with the module now.
func (s *Status) Troubled() bool { return s.LastError != "" && !s.LastErrorOver }

func (s *Status) trouble(text string, at time.Time) {
	s.LastError, s.LastErrorAt, s.LastErrorOver = text, at, false
}

// addProblem adds what is wrong now, and was told to workers when they joined.
func (s *Status) addProblem(text string) {
	s.Problems = append(s.Problems, text)
	if !s.Troubled() {
		s.trouble(text, time.Time{})
	}
}

func (f *Failing) text() string {
	text := fmt.Sprintf("%s: %s, %d in a row", f.Callback, f.Failure, f.InARow)
	if f.Open {
		text += "; it is left alone for the moment"
	}
	return text
}

// Modules returns the status of each module: the listed ones in roster order, then the unlisted ones by name.
func (r *Roster) Modules() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Status
	failing, news := r.failing(), r.news()
	for i, m := range r.listed {
		s := m.status()
		s.Order = i + 1
		s.addFailing(failing[m.Name])
		s.addNews(news)
		all = append(all, s)
	}
	var guests []Status
	for _, m := range r.unlisted {
		s := m.status()
		s.State, s.Problems = Unlisted, nil
		s.trouble(fmt.Sprintf("not in the roster, so it is not asked: add \"- module: %s\"", m.Name), time.Time{})
		guests = append(guests, s)
	}
	slices.SortFunc(guests, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return append(all, guests...)
}
