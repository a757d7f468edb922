//go:build linux

package busd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

// TestStoreOutlivesADiskThatFilledUp has a module store until the disk is full. What it stored before is there when busd was started
// again with room on the disk, and it stores again.
func TestStoreOutlivesADiskThatFilledUp(t *testing.T) {
	t.Parallel()
	const again = `"$@" || true` // The first busd, in the place of which another one comes when it ends.
	where, web := testbed.FreeAddress(t), testbed.FreeAddress(t)
	d, disk := onDisk(t, "size=64m", again, "nats: {listen: '"+where+"'}\nhttp: {listen: '"+web+"'}\nmodules: [{module: gate, on_failure: skip}]\n")
	d.Start()
	d.Announced()
	s := storeOf(t, d, "gate")
	if err := s.put("before", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	fill := inside(d, filepath.Join(disk, "fill"))
	if err := fillUp(fill); !errors.Is(err, syscall.ENOSPC) {
		t.Skipf("the disk does not fill up: %v", err)
	}
	big := make([]byte, 1<<16)
	var refusal error
	testbed.Eventually(t, "a value is not stored", func() bool { refusal = s.put("more", big); return refusal != nil })
	t.Log("the module is told: ", refusal)
	testbed.Eventually(t, "busd says why", func() bool {
		_ = s.put("more", big)
		_, out := d.Request("GET", "/readyz", nil)
		return strings.Contains(string(out), "no space left on device")
	})
	if rsp, out := d.Request("POST", testbed.CreatePath, []byte(`{"user_id": "@a:example.com"}`)); rsp.StatusCode != 200 {
		t.Errorf("an ask: %s %s", rsp.Status, out)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	end(t, d)
	testbed.Eventually(t, "busd is there again", func() bool { return d.Stdout.Count("busd: ", "HTTP at") == 2 })
	testbed.Eventually(t, "a value is stored again", func() bool { return s.put("after", big) == nil })
	if got, err := s.get("before"); err != nil || got != "kept" {
		t.Errorf("what was stored before is %q, %v", got, err)
	}
	d.Stop()
}

// end ends the busd that a shell has begun.
func end(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	shell := d.Cmd.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", shell, shell))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGTERM)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// moduleStore is a module's, as a program without a kit uses it.
type moduleStore struct {
	t      *testing.T
	stream jetstream.JetStream
	bucket string
}

func storeOf(t *testing.T, d *testbed.Daemon, module string) *moduleStore {
	t.Helper()
	names := subjects.For("example.com")
	env := credentialed(d, module)
	file := strings.TrimPrefix(env[len(env)-1], "MODULEBUS_CREDENTIALS=")
	nc := d.ConnectWith(file, nats.CustomInboxPrefix(names.Inbox(module, "w")), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if _, err := nc.RequestWithContext(testbed.Bounded(t), names.Store(module), nil); err != nil {
		t.Fatal(err)
	}
	stream, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &moduleStore{t, stream, names.StoreBucket(module)}
}

func (s *moduleStore) put(key string, value []byte) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second) // It is not told in any case.
	defer cancel()
	_, err := s.stream.Publish(ctx, "$KV."+s.bucket+"."+key, value, jetstream.WithRetryAttempts(0))
	return err
}

func (s *moduleStore) get(key string) (string, error) {
	m, err := s.stream.Conn().RequestWithContext(testbed.Bounded(s.t), "$JS.API.DIRECT.GET.KV_"+s.bucket+".$KV."+s.bucket+"."+key, nil)
	if err != nil {
		return "", err
	}
	return string(m.Data), nil
}
