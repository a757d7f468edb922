//go:build linux

package busd_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// onDisk has busd serve with a state_dir on a disk of its own, which nobody else sees. It skips where the kernel allows no
// such disk. The script runs before busd, with the disk mounted at $0.
func onDisk(t *testing.T, options, script, config string) (d *testbed.Daemon, disk string) {
	t.Helper()
	if err := exec.Command("unshare", "-rm", "true").Run(); err != nil {
		t.Skipf("no namespace for mounts here: %v", err)
	}
	disk = t.TempDir()
	d = testbed.Prepare(t, "state_dir: '"+filepath.Join(disk, "state")+"'\n"+config)
	mount := fmt.Sprintf("mount -t tmpfs -o %s tmpfs \"$0\" && { %s; } && exec \"$@\"", options, script)
	p := testbed.Execute(t, "/bin/sh", append([]string{"-c", "exec unshare -rm sh -c '" + mount + "' \"$@\"", "sh", disk}, d.Cmd.Args...)...)
	p.Cmd.Env = d.Cmd.Env
	d.Process = p
	return d, disk
}

// inside is a path as busd sees it.
func inside(d *testbed.Daemon, path string) string {
	return fmt.Sprintf("/proc/%d/root%s", d.Cmd.Process.Pid, path)
}

func TestBusdDoesNotStartWithoutADiskToWriteTo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ options, script, want string }{
		"a full disk":      {"size=16k", "head -c 100000 /dev/zero >$0/fill 2>/dev/null || true", "no space left on device"},
		"a read-only disk": {"size=1m", "mount -o remount,ro $0", "read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, disk := onDisk(t, c.options, c.script, "modules: [{module: gate}]\n")
			status, stdout, stderr := d.Run()
			if status != 1 || stdout != "" {
				t.Errorf("exit status %d, stdout %q; want 1, and nothing", status, stdout)
			}
			contains(t, "stderr", stderr, "busd: state_dir: ", disk, c.want)
		})
	}
}

// TestDiskThatFillsUpIsSaidAndStopsNobody has the disk of a busd that runs fill up, and be emptied again.
func TestDiskThatFillsUpIsSaidAndStopsNobody(t *testing.T) {
	t.Parallel()
	d, disk := onDisk(t, "size=64m", "true", "modules: [{module: gate, on_failure: fail}, {module: other, on_failure: skip}]\n")
	d.Start()
	d.Announced()
	env := credentialed(d, "gate")
	fill := inside(d, filepath.Join(disk, "fill"))
	if err := fillUp(fill); !errors.Is(err, syscall.ENOSPC) {
		t.Skipf("the disk does not fill up: %v", err)
	}
	gate := testbed.Command(t, testbed.Faulty).With(env...).Start()
	d.Stderr.Line(t, "cannot keep what modules registered", "no space left on device")
	testbed.Eventually(t, "the module is asked all the same", func() bool { return d.Create("@refused:example.com").DecidedBy == "gate" })
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "what it registered is kept", func() bool {
		text, err := os.ReadFile(inside(d, filepath.Join(disk, "state", "roster-example%2Ecom.json")))
		return err == nil && strings.Contains(string(text), "user_may_create_room")
	})
	gate.Stop()
	d.Stop()
}

// TestReadinessTellsOfADiskThatFilledUp has a module whose news cannot be stored. NATS stores nothing more in that stream, and says so
// to nobody who stores.
func TestReadinessTellsOfADiskThatFilledUp(t *testing.T) {
	t.Parallel()
	d, disk := onDisk(t, "size=64m", "true", `modules:
  - module: archive
    on_failure: skip
    timeout: 500ms
    callbacks: {on_profile_update: {deliver: at_least_once}}
`)
	d.Start()
	d.Announced()
	tell := func() (status int) {
		rsp, _ := d.Request("POST", "/_modulebus/v1/ask/third_party_rules/on_profile_update", []byte(`{"user_id": "@a:example.com"}`))
		return rsp.StatusCode
	}
	ready := func() string { _, out := d.Request("GET", "/readyz", nil); return string(out) }
	if status, out := tell(), ready(); status != 200 || strings.Contains(out, "nats_error") {
		t.Errorf("with room on the disk: %d %s", status, out)
	}
	if err := fillUp(inside(d, filepath.Join(disk, "fill"))); !errors.Is(err, syscall.ENOSPC) {
		t.Skipf("the disk does not fill up: %v", err)
	}
	testbed.Eventually(t, "it says that nothing can be stored", func() bool { tell(); return strings.Contains(ready(), "no space left on device") })
	d.Stop()
}

// credentialed is what a worker is told, with credentials that were made where busd's keys are.
func credentialed(d *testbed.Daemon, module string) []string {
	d.Helper()
	args := append([]string{"--target", strconv.Itoa(d.Cmd.Process.Pid), "--user", "--mount", "--preserve-credentials"},
		testbed.Program(d.T, testbed.Busd), "credentials", "--config", d.File, module)
	status, text, problem := testbed.Execute(d.T, "/usr/bin/nsenter", args...).Run()
	if status != 0 {
		d.Fatalf("busd prints no credentials: %s", problem)
	}
	file := filepath.Join(d.TempDir(), module+".creds")
	testbed.Write(d.T, file, text)
	return []string{"MODULEBUS_NATS_URL=" + d.NATS, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=" + module, "MODULEBUS_CREDENTIALS=" + file}
}

// fillUp writes until the disk is full.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<16); err == nil; {
		if _, err = f.Write(block); err != nil && len(block) > 1 {
			block, err = block[:len(block)/2], nil
		}
	}
	return err
}
