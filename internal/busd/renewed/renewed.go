// Package renewed keeps what was made from files as new as the files: tokens, certificates and authorities are replaced
// while busd runs, without a restart and without a signal, as cert-manager, certbot and Kubernetes replace them.
//
//	token, err := renewed.Open(log, readToken, "http.token")
//	if err != nil {
//		return err
//	}
//	token.Value() // what the file holds now, or within a second
//
// No goroutine watches: whoever asks for the value looks at the files, at most once in [LookEvery].
package renewed

import (
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// LookEvery is how old a look at the files may be.
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

// Open makes the value from the files. An error is that of read. Later errors of read are logged, once for each change, and
// the value stays as it was.
func Open[T any](log zerolog.Logger, read func() (T, error), files ...string) (*Value[T], error) {
	v := &Value[T]{read: read, files: files, log: log, looked: time.Now()}
	v.seen = v.look() // Before it is read: what changes meanwhile is seen at the next look.
	var err error
	v.value, err = read()
	return v, err
}

// Value returns what the files say, at most [LookEvery] ago. It reads them when they have changed.
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
