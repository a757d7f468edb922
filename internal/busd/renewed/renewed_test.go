package renewed_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/renewed"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestValueFollowsItsFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "one")
		reads := 0
		read := func() (string, error) {
			reads++
			text, err := os.ReadFile(file)
			if string(text) == "bad" {
				err = errors.New("it is bad")
			}
			return string(text), err
		}
		var log bytes.Buffer
		v, err := renewed.Open(zerolog.New(&log), read, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			write, want string
			reads       int
		}{{"", "one", 1}, {"two", "two", 2}, {"", "two", 2}, {"bad", "two", 3}, {"", "two", 3}, {"three", "three", 4}} {
			if step.write != "" {
				write(t, file, step.write)
			}
			time.Sleep(renewed.LookEvery) //nolint:forbidigo // the clock is the test's
			if got := v.Value(); got != step.want || reads != step.reads {
				t.Errorf("%+v: got %q after %d reads", step, got, reads)
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(renewed.LookEvery) //nolint:forbidigo // the clock is the test's
		if got := v.Value(); got != "three" {
			t.Errorf("without its file it is %q", got)
		}
		if n := strings.Count(log.String(), "is not good"); n != 2 {
			t.Errorf("the log says %d times that the file is not good: %s", n, &log)
		}
	})
}

func TestFileThatIsNotGoodIsAnErrorAtTheStart(t *testing.T) {
	t.Parallel()
	read := func() (string, error) { return "", errors.New("no") }
	if _, err := renewed.Open(zerolog.Nop(), read); err == nil {
		t.Error("it opened")
	}
}
