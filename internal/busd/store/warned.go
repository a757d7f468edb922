package store

import "sync"

// warned are the modules that the log warned of, at most as many as the roster lists.
type warned struct{ modules sync.Map }

// first reports whether it is called for the module for the first time.
func (w *warned) first(module string) bool {
	_, before := w.modules.LoadOrStore(module, true)
	return !before
}
