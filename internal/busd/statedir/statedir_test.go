package statedir_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/statedir"
)

// A test that needs another process runs this program again, with the folder that it is to hold.
const holds = "STATEDIR_TEST_HOLDS"

func TestMain(m *testing.M) {
	if path := os.Getenv(holds); path != "" {
		hold(path)
		return
	}
	os.Exit(m.Run())
}

// hold opens the folder, says so, and waits to be killed.
func hold(path string) {
	if _, err := statedir.Open(path); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("held")
	select {}
}

func holder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), holds+"="+path)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	said := make([]byte, 4)
	if _, err := out.Read(said); err != nil || string(said) != "held" {
		t.Fatalf("the other process says %q, %v", said, err)
	}
	return c
}

func open(t *testing.T, path string) *statedir.Dir {
	t.Helper()
	d, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestFolderIsMadeForItsUserAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want a folder with mode 0700", info, err)
	}
	if got := d.Path("x"); got != filepath.Join(path, "x") {
		t.Errorf("a thing in it is at %s", got)
	}
}

func TestFolderThatOthersReadIsClosedToThem(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want mode 0700", info, err)
	}
}

func TestSecondBusdIsToldWhoHoldsTheFolder(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	first := holder(t, path)
	mark := filepath.Join(path, "theirs")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := listing(t, path)
	_, err := statedir.Open(path)
	want := fmt.Sprintf("%s is in use by another busd (pid %d)", path, first.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if after := listing(t, path); after != before {
		t.Errorf("it touched the folder: %s, before that %s", after, before)
	}
}

// listing is what is in a folder, with times.
func listing(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d %v; ", e.Name(), info.Size(), info.ModTime())
	}
	return b.String()
}

func TestFolderOfAKilledBusdIsFree(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	first := holder(t, path)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	open(t, path)
}

func TestFolderIsFreeAfterClose(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	for range 2 {
		d, err := statedir.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
}

func TestFolderThatCannotBeUsedIsExplained(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		path string
		want string
	}{
		"a file":       {file, "not a directory: a file is in its place"},
		"below a file": {filepath.Join(file, "below"), "name a folder"},
		"a dead link":  {link, "a link that leads nowhere"},
		"read-only":    {"/proc/modulebus", "/proc/modulebus: cannot make the folder"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d, err := statedir.Open(tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v; want %q", d, err, tt.want)
			}
		})
	}
}

// TestFolderThatTakesNoNewFilesIsExplained has one whose files can be written, and no new ones made; by root they can.
func TestFolderThatTakesNoNewFilesIsExplained(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	open(t, path).Close()
	if err := os.Chmod(path, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(path, 0o700) }) // So that it can be removed. It is this user's.
	d, err := statedir.Open(path)
	if os.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "(chmod 700)") || !strings.Contains(err.Error(), "own it, or name another folder") {
			t.Errorf("%v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if left, err := os.ReadDir(path); err != nil || len(left) != 1 {
		t.Errorf("busd leaves %v behind, %v", left, err)
	}
}

func TestTemporaryFolderGoesWithBusd(t *testing.T) {
	t.Parallel()
	d, err := statedir.Temporary()
	if err != nil {
		t.Fatal(err)
	}
	path := d.Path("x")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestTemporaryFolderOfAKilledBusdIsRemoved has folders beside it that may be somebody's.
func TestTemporaryFolderOfAKilledBusdIsRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	living := temporary(t)
	for name, signed := range map[string]string{"busd-killed": "4711\n", "busd-starts": "", "other": "4711\n"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "busd.lock"), []byte(signed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "busd-unlocked"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "other"), filepath.Join(dir, "busd-elsewhere")); err != nil {
		t.Fatal(err)
	}
	temporary(t)
	for name, there := range map[string]bool{
		"busd-killed": false, "busd-starts": true, "busd-unlocked": true, "busd-elsewhere": true, "other/busd.lock": true,
		filepath.Base(living.Path(".")): true,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func temporary(t *testing.T) *statedir.Dir {
	t.Helper()
	d, err := statedir.Temporary()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}
