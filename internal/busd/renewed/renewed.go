// Package renewed makes values from files, and makes them again when the files change. So tokens, certificates and
// authorities can be replaced while busd runs, without a restart and without a signal, as cert-manager, certbot and
// Kubernetes do.
//
//	token, err := renewed.Open(log, readToken, "http.token")
//	if err != nil {
//		return err
//	}
//	token.Value() // what the file holds now, or within a second
//
// No goroutine watches the files: the call for the value looks at them, at most once in [LookEvery].
package renewed

import (
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// LookEvery is how old the last look at the files may be.
const LookEvery = time.Second

// Value is made from files, and made again when one of them changes. Its methods may be called concurrently.
type Value[T any] struct {
	read  func() (T, error)
	files []string
	log   zerolog.Logger

	mu     sync.Mutex
	value  T
	seen   []fs.FileInfo // nil for a file that is not there
	looked time.Time
}

// Open makes the value from the files, with read, whose error it returns. Later errors of read are logged, once for
// each change of the files, and the value stays as it was.
func Open[T any](log zerolog.Logger, read func() (T, error), files ...string) (*Value[T], error) {
	v := &Value[T]{read: read, files: files, log: log, looked: time.Now()}
	v.seen = v.look() // Looked at before reading, so that a change in between is seen at the next look.
	var err error
	v.value, err = read()
	return v, err
}

// Value returns the value of the files as they were at most [LookEvery] ago. It reads them if they have changed.
func (v *Value[T]) Value() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := time.Now(); now.Sub(v.looked) >= LookEvery {
		v.looked = now
		v.renew()
	}
	return v.value
}

func (v *Value[T]) renew() {
	now := v.look()
	if same(v.seen, now) {
		return
	}
	v.seen = now
	value, err := v.read()
	if err != nil {
		v.log.Error().Err(err).Msg("a changed file is not good; what it said before stays")
		return
	}
	v.value = value
	v.log.Info().Strs("files", v.files).Msg("took over the changed files")
}

func (v *Value[T]) look() []fs.FileInfo {
	all := make([]fs.FileInfo, len(v.files))
	for i, file := range v.files {
		if info, err := os.Stat(file); err == nil {
			all[i] = info
		}
	}
	return all
}

func same(a, b []fs.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) || a[i] != nil && !sameFile(a[i], b[i]) {
			return false
		}
	}
	return true
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
