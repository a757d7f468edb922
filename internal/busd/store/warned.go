package store

import "sync"

// warned is the modules that were warned of. There are no more of them than the roster lists.
type warned struct{ modules sync.Map }

// first reports whether a module was not warned of before.
func (w *warned) first(module string) bool {
	_, before := w.modules.LoadOrStore(module, true)
	return !before
}
