package natsrequest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/wire"
)

func TestRequestUsuallyHasNoHeader(t *testing.T) {
	t.Parallel()
	if h := (natsrequest.Request{Subject: "s", Data: []byte("x")}).Header(); h != nil {
		t.Errorf("got %v", h)
	}
}

func TestRequestTellsTheTimeThatIsLeft(t *testing.T) {
	t.Parallel()
	const own = time.Hour
	tests := map[string]struct {
		left, want time.Duration
	}{
		"milliseconds":              {250 * time.Millisecond, 250 * time.Millisecond},
		"a little time is not none": {time.Nanosecond, time.Millisecond},
		"parts are rounded up":      {1500 * time.Microsecond, 2 * time.Millisecond},
		"no more than its own":      {2 * time.Hour, own},
		"its own, if nothing said":  {0, own},
	}
	for name, tt := range tests {
		m := &nats.Msg{Header: natsrequest.Request{Timeout: tt.left}.Header()}
		if got := wire.Timeout(m, own); got != tt.want || bool(wire.MappingOf(m)) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	if m := (&nats.Msg{Header: natsrequest.Request{JSON: true}.Header()}); wire.Timeout(m, own) != own || !bool(wire.MappingOf(m)) {
		t.Errorf("a request in the JSON mapping is %v", m.Header)
	}
}
