//go:build !linux

package nearby

import "errors"

// newMemory fails: memory is shared on Linux alone.
func newMemory() (*memory, error) { return nil, errors.ErrUnsupported }

func (m *memory) fix() error { return errors.ErrUnsupported }

func (m *memory) unmap() {}

func (l *Line) give() error { return errors.ErrUnsupported }

func (l *Line) given() (answer byte, err error) { return l.answer() }
