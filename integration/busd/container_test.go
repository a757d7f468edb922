//go:build linux

package busd_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// leavesOrphans is a script that starts processes which leave their group and their parent, and waits until nothing of them
// is left, which is when somebody has waited for them.
const leavesOrphans = `for i in 1 2 3 4 5 6 7 8 9 10; do setsid sh -c "sleep 0.05 & echo \$!" >>pids; done
for p in $(cat pids); do while [ -e /proc/$p ]; do sleep 0.05; done; done
echo none of $(wc -l <pids) is left
exec "$0"`

// TestFirstProcessOfAContainerLeavesNoZombies runs busd as the first process of a namespace, as an image's entry point.
func TestFirstProcessOfAContainerLeavesNoZombies(t *testing.T) {
	t.Parallel()
	space := []string{"-r", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if err := exec.Command("unshare", append(space, "true")...).Run(); err != nil {
		t.Skipf("no namespace for processes here: %v", err)
	}
	d := testbed.Prepare(t, fmt.Sprintf("modules:\n  - module: gate\n    run: [sh, -c, %q, %q]\n", leavesOrphans, testbed.Program(t, testbed.Faulty)))
	p := testbed.Execute(t, "/usr/bin/env", append(append([]string{"unshare"}, space...), d.Cmd.Args...)...)
	p.Cmd.Env = d.Cmd.Env
	d.Process = p
	d.Start()
	d.Stderr.Line(t, "none of 10 is left")
	d.Announced()
	if v := d.Create("@refused:example.com"); !v.Refused() {
		t.Error(v)
	}
	first := children(t, p.Cmd.Process.Pid)
	if len(first) != 1 {
		t.Fatalf("unshare has the children %v", first)
	}
	if err := syscall.Kill(first[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := d.Wait(); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skip("this kernel does not list the children of a process (CONFIG_PROC_CHILDREN): ", err)
	}
	for word := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

// TestSlowBodiesDoNotHoldUpTheEnd stops busd while a thousand callers have sent half a question.
func TestSlowBodiesDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules:\n"+faulty(t, "gate"))
	const callers = 1000
	var asking sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	began := make(chan struct{}, callers)
	for range callers {
		asking.Go(func() {
			answer := halfAQuestion(d, began)
			mu.Lock()
			defer mu.Unlock()
			answers[answer]++
		})
	}
	for range callers {
		<-began
	}
	if v := d.Create("@refused:example.com"); !v.Refused() {
		t.Error(v)
	}
	d.Stop()
	asking.Wait()
	if answers["408"]+answers["503"]+answers[""] != callers {
		t.Errorf("half a question is answered %v", answers)
	}
}

// halfAQuestion sends as much, and returns the status that comes; empty where the connection is closed without one.
func halfAQuestion(d *testbed.Daemon, began chan<- struct{}) (status string) {
	c, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
	if err != nil {
		began <- struct{}{}
		return err.Error()
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: busd\r\nContent-Length: 100\r\n\r\n{", testbed.CreatePath)
	began <- struct{}{}
	if err != nil {
		return err.Error()
	}
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(c) // A reset is an end as well.
	words := strings.Fields(answer.String())
	if len(words) < 2 {
		return ""
	}
	return words[1]
}

// TestModuleThatNeverJoinsKeepsTheDoorClosedForAMinuteAndIsNamed waits for that minute.
func TestModuleThatNeverJoinsKeepsTheDoorClosedForAMinuteAndIsNamed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for the minute that busd gives a module to join, and -short is set")
	}
	d := testbed.Prepare(t, "http: {listen: '"+testbed.FreeAddress(t)+"'}\nmodules:\n"+faulty(t, "good")+
		"  - module: hangs\n    run: [sleep, '1000']\n")
	d.URL = "http://" + d.Config().HTTP.Listen
	d.Start()
	d.Stderr.Line(t, "waiting for modules", "module hangs is starting, and has not joined, since ", `"answering":false`)
	if v := d.Create("@refused:example.com"); v.Status != 503 || v.RetryAfter == "" {
		t.Errorf("%v, Retry-After %q", v, v.RetryAfter)
	}
	if m := d.Module("hangs"); m.State != "starting" {
		t.Errorf("%+v", m)
	}
	testbed.Eventually(t, "it has been named four times", func() bool { return d.Stderr.Count("waiting for modules", `"answering":false`) >= 4 })
	d.Announced()
	contains(t, "the announcement", d.Announce, "running, but not ready", "module hangs is starting, and has not joined, since ")
	if v := d.Create("@refused:example.com"); v.DecidedBy != "good" {
		t.Error(v)
	}
	d.Stop()
}
