package web_test

import (
	"os"
	"testing"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
)

func TestWebLargeBodiesPassNATSByOnOneMachine(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	passed := func(temp string) int64 {
		s := newSite(t, bus.Options{}, "faulty")
		s.startAt(t, s.url, temp)
		if whole, err := s.through(testbed.Bounded(t), noise(size)); !whole || err != nil {
			t.Errorf("it came back whole: %v; %v", whole, err)
		}
		v, err := s.nats.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v.InBytes
	}
	if near, far := passed(os.TempDir()), passed(t.TempDir()); near > size/10 || far < 2*size {
		t.Errorf("%d bytes over NATS on one machine, and %d on two", near, far)
	}
}
