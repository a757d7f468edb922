package page

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
)

// lookTime is how often the state of modules is read, for all browsers together.
const lookTime = time.Second

// board holds the parts of the page, which are the same for all browsers. A part is rendered again only when what it
// shows has changed. Its methods may be called concurrently.
type board struct {
	page *Page

	mu      sync.Mutex
	looked  time.Time
	version uint64 // grows with each change
	listed  uint64 // version at which the list of modules last changed
	parts   []part // the head, and each module
}

// part is one element of the page.
type part struct {
	name    string
	shows   []byte // what it shows, for comparison
	html    []byte
	version uint64 // at which it was last rendered
}

// head is the part at the top of the page.
type head struct {
	Config   operatordoor.ConfigStatus
	Modules  int      // that are listed
	Troubled []string // modules with which something is wrong, or that do not answer yet
}

// Ready reports whether no module is troubled.
func (h *head) Ready() bool { return len(h.Troubled) == 0 }

// all returns all parts, and their version.
func (b *board) all() (parts []part, version uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	return slices.Clone(b.parts), b.version
}

// since returns the parts that are newer than a version, and the present version; others tells that the list is newer,
// so that all parts are returned.
func (b *board) since(version uint64) (parts []part, now uint64, others bool) {
	parts, now = b.all()
	b.mu.Lock()
	others = b.listed > version || version > now // A higher version is that of another run of busd.
	b.mu.Unlock()
	if !others {
		parts = slices.DeleteFunc(parts, func(p part) bool { return p.version <= version })
	}
	return parts, now, others
}

// look brings the parts up to date, if it is time to.
func (b *board) look() {
	now := time.Now()
	if now.Sub(b.looked) < lookTime {
		return
	}
	b.looked = now
	h, modules := b.page.look()
	names := []string{"head"}
	for i := range modules {
		names = append(names, modules[i].Place())
	}
	if !slices.EqualFunc(b.parts, names, func(p part, name string) bool { return p.name == name }) {
		b.version++
		b.listed = b.version
		b.parts = make([]part, len(names))
	}
	b.update(&b.parts[0], names[0], "head", h)
	for i := range modules {
		b.update(&b.parts[i+1], names[i+1], "module", &modules[i])
	}
}

// update renders a part again if what it shows has changed.
func (b *board) update(p *part, name, template string, v any) {
	shows, err := json.Marshal(v)
	if err == nil && p.name == name && bytes.Equal(p.shows, shows) {
		return
	}
	var html bytes.Buffer
	if err := templates.ExecuteTemplate(&html, template, v); err != nil {
		b.page.Log.Error().Err(err).Str("part", name).Msg("cannot show a part of the page")
	}
	b.version++
	*p = part{name, shows, html.Bytes(), b.version}
}
