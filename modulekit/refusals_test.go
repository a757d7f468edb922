package modulekit

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
)

func refusalOf(subject string) error {
	return fmt.Errorf("%w: permissions violation for subscription to %q using queue \"gate\"", nats.ErrPermissionViolation, subject)
}

// NATS says again what it refuses when a connection is made again, and that may be heard before the worker knows of the connection.
func TestRefusalsAreOfOneConnection(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	r := hearRefusals(nc)
	r.hear(nc, nil, refusalOf("a"))
	r.hear(nc, nil, errors.New("another error"))
	if !slices.Equal(r.all(), []string{"a"}) || !r.has("a") {
		t.Errorf("%v are refused", r.all())
	}
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the connection is made again", func() bool { return nc.Stats().Reconnects == 1 })
	r.hear(nc, nil, refusalOf("b"))
	if !slices.Equal(r.all(), []string{"b"}) || r.has("a") {
		t.Errorf("%v are refused", r.all())
	}
}

func TestRefusalIsPassedOnOnce(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	passed := 0
	nc.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) { passed++ })
	r := hearRefusals(nc)
	for _, subject := range []string{"a", "b", "a", "a"} {
		r.hear(nc, nil, refusalOf(subject))
	}
	if passed != 2 {
		t.Errorf("%d were passed on", passed)
	}
}
