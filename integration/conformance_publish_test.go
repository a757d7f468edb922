package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// publish is for who replays a directory of their own, and wants to know how much of it agrees. The tally goes to
// .cache/conformance.txt; and, since go test keeps to itself what a test prints that passes, to where go test prints.
func (t *tally) publish(aloud bool) error {
	var text bytes.Buffer
	t.print(&text)
	file := filepath.Join("..", ".cache", "conformance.txt")
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(file, text.Bytes(), 0o666); err != nil {
		return err
	}
	if aloud {
		fmt.Fprint(commandOutput(), &text)
	}
	return forget(file)
}

// forget has go test not take this result for the next one: it does not see that files outside of the module change. It
// does not remember results of tests that read a file as new as this.
func forget(file string) error {
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(file, later, later); err != nil {
		return err
	}
	_, err := os.ReadFile(file)
	return err
}
