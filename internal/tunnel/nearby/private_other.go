//go:build !unix

package nearby

import "errors"

func private(string) error { return errors.New("nearby: not on this system") }

func refused(error) bool { return false }

func gone(error) bool { return false }
