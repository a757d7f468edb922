package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is for a machine that is busy with other tests, too.
const patience = time.Minute

// system is an empty Debian with the package in it.
type system struct {
	*testing.T
	root, deb string
}

// install builds the package, and installs it.
func install(t *testing.T) *system {
	t.Helper()
	for _, tool := range []string{"dpkg", "dpkg-deb", "systemd-sysusers"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this is no Debian with systemd: there is no %s", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root installs packages")
	}
	s := &system{T: t, root: t.TempDir()}
	var err error
	if s.deb, err = (&build{root: "../../..", out: t.TempDir(), version: "1.2.3", arch: runtime.GOARCH}).run(); err != nil {
		t.Fatal(err)
	}
	s.write("var/lib/dpkg/status", "")
	s.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	s.write("etc/group", "root:x:0:\n")
	s.dpkg("--install", s.deb)
	return s
}

func (s *system) write(name, text string) {
	s.Helper()
	path := filepath.Join(s.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		s.Fatal(err)
	}
}

func (s *system) dpkg(args ...string) {
	s.Helper()
	s.must("dpkg", append([]string{"--root=" + s.root, "--force-script-chrootless,depends", "--log=/dev/null"}, args...)...)
}

// must returns what a command says.
func (s *system) must(name string, args ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (s *system) path(name string) string { return filepath.Join(s.root, name) }

func TestPackageInstallsRunsAndGoes(t *testing.T) { //nolint:paralleltest // run goes to another folder
	s := install(t)
	if passwd, err := os.ReadFile(s.path("etc/passwd")); err != nil || !bytes.Contains(passwd, []byte("modulebus:")) {
		t.Errorf("there is no user to run as: %v\n%s", err, passwd)
	}
	info, err := os.Stat(s.path("etc/modulebus/busd.yaml"))
	if err != nil || info.Mode().Perm() != 0o640 || info.Sys().(*syscall.Stat_t).Gid == 0 {
		t.Errorf("the configuration is not for root and modulebus alone: %v, %v", info, err)
	}
	s.must(s.path("usr/bin/busd"), "check", "--offline", s.path("etc/modulebus/busd.yaml"))
	s.serves()
	s.dpkg("--install", s.deb) // As an upgrade does.
	s.dpkg("--purge", "busd")
	for _, name := range []string{"usr/bin/busd", "etc/modulebus", "usr/lib/systemd/system/busd.service", "var/lib/modulebus"} {
		if _, err := os.Stat(s.path(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	s.unit()
	s.manPages()
}

// serves runs what was installed as systemd does, with ports that are free.
func (s *system) serves() {
	s.Helper()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		s.Fatal(err)
	}
	defer notify.Close()
	if err := notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	config, err := os.ReadFile(s.path("etc/modulebus/busd.yaml"))
	if err != nil {
		s.Fatal(err)
	}
	free := strings.NewReplacer("127.0.0.1:4222", "127.0.0.1:0", "127.0.0.1:8010", "127.0.0.1:0").Replace(string(config))
	s.write("etc/modulebus/free.yaml", free)
	c := exec.CommandContext(s.Context(), s.path("usr/bin/busd"), "serve", "--config", s.path("etc/modulebus/free.yaml"))
	c.Env = []string{"NOTIFY_SOCKET=" + notify.LocalAddr().String(), "STATE_DIRECTORY=" + s.TempDir()}
	c.Stdout, c.Stderr = s.Output(), s.Output()
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.told(notify, "READY=1")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		s.Error(err)
	}
	s.told(notify, "STOPPING=1")
	if err := c.Wait(); err != nil {
		s.Error(err)
	}
	s.remove("etc/modulebus/free.yaml")
}

func (s *system) remove(name string) {
	if err := os.Remove(s.path(name)); err != nil {
		s.Error(err)
	}
}

// told waits for what systemd is told.
func (s *system) told(notify *net.UnixConn, want string) {
	s.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if err != nil {
			s.Fatalf("systemd is not told %s: %v", want, err)
		}
		if strings.Contains(string(buf[:n]), want) {
			return
		}
	}
}

// unit has systemd judge the unit: no mistakes, and little that it may do.
func (s *system) unit() {
	s.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		s.Log("there is no systemd-analyze: the unit is not looked at")
		return
	}
	s.dpkg("--install", s.deb)
	unit := s.path("usr/lib/systemd/system/busd.service")
	text, err := os.ReadFile(unit)
	if err != nil {
		s.Fatal(err)
	}
	here := filepath.Join(s.TempDir(), "busd.service") // Programs are looked for.
	if err := os.WriteFile(here, bytes.ReplaceAll(text, []byte("/usr/bin/busd"), []byte(s.path("usr/bin/busd"))), 0o644); err != nil {
		s.Fatal(err)
	}
	if out := s.must("systemd-analyze", "verify", "--man=no", here); strings.Contains(out, "busd.service") {
		s.Errorf("systemd finds mistakes in the unit:\n%s", out)
	}
	const safe = "20" // of 100, where 0 may do nothing
	s.must("systemd-analyze", "security", "--offline=yes", "--threshold="+safe, unit)
}

// manPages has man read each page, strictly.
func (s *system) manPages() {
	s.Helper()
	pages, err := filepath.Glob(s.path("usr/share/man/man1/*.gz"))
	if err != nil || len(pages) < 5 {
		s.Fatalf("%d pages: %v", len(pages), err)
	}
	if _, err := exec.LookPath("man"); err != nil {
		s.Log("there is no man to read the pages with")
		return
	}
	for _, page := range pages {
		if out := s.must("man", "--local-file", "--warnings", "--encoding=utf8", page); !strings.Contains(out, "busd") {
			s.Errorf("%s says %q", page, out)
		}
	}
}
