package statedir_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/statedir"
	"github.com/modulebus/modulebus/internal/busd/statedir/statedirtest"
)

func TestFullDiskIsExplained(t *testing.T) {
	t.Parallel()
	dir := statedirtest.Disk(t)
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err := statedir.Open(dir); err == nil || !strings.Contains(err.Error(), "make room on that disk") {
		t.Fatalf("got %v, %v", d, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestReadOnlyDiskIsExplained(t *testing.T) {
	t.Parallel()
	dir := statedirtest.Disk(t)
	statedirtest.Remount(t, dir, syscall.MS_RDONLY)
	if d, err := statedir.Open(dir); err == nil || !strings.Contains(err.Error(), "mount it for writing") {
		t.Errorf("got %v, %v", d, err)
	}
}

func TestFolderOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	dir := statedirtest.Disk(t)
	if err := os.Chown(dir, 10001, 10001); err != nil {
		t.Fatal(err)
	}
	if d, err := statedir.Open(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 10001") {
		t.Errorf("got %v, %v", d, err)
	}
}

// zeros never ends.
type zeros struct{}

// Read implements [io.Reader].
func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
