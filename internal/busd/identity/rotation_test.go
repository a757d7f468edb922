package identity_test

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

func TestRotationIsKnownUntilItIsRetired(t *testing.T) {
	t.Parallel()
	keys, err := identity.Open(t.TempDir(), serverName)
	must(t, err)
	gate := identity.Module("gate")
	first, err := keys.Credentials(gate)
	must(t, err)
	before := keys.Version()
	second, err := keys.Rotate(gate)
	must(t, err)
	third, err := keys.Rotate(gate)
	must(t, err)
	if keys.Version() == before {
		t.Error("the record has another user, and the same version")
	}
	all, err := keys.Rotating()
	must(t, err)
	if old := []string{public(t, first), public(t, second)}; len(all) != 1 || all[0].User != gate || !slices.Equal(all[0].Old, old) {
		t.Errorf("got %+v, want the old keys %q", all, old)
	}
	if slices.Contains(all[0].Old, public(t, third)) || all[0].Since.IsZero() {
		t.Errorf("got %+v", all[0])
	}
	must(t, keys.Retire(gate))
	if all, err = keys.Rotating(); err != nil || len(all) != 0 {
		t.Errorf("after they are retired: %+v, %v", all, err)
	}
}

func TestCredentialsAreKnownByWhoSignedThem(t *testing.T) {
	t.Parallel()
	ours, err := identity.Open(identity.In(t.TempDir()), serverName)
	must(t, err)
	others, err := identity.Open(identity.In(t.TempDir()), serverName)
	must(t, err)
	text, err := ours.Credentials(identity.Homeserver)
	must(t, err)
	if !ours.Made(text) {
		t.Error("credentials of this bus are somebody else's")
	}
	if others.Made(text) {
		t.Error("credentials of another bus of the same name are this one's")
	}
	if ours.Made([]byte("nothing")) {
		t.Error("a text that is no credentials is this bus's")
	}
}

func TestUserIsNamedAsServersShowIt(t *testing.T) {
	t.Parallel()
	gate := identity.Module("gate")
	if again := identity.Named(gate.String()); again != gate {
		t.Errorf("%v became %v", gate, again)
	}
	if name, ok := identity.Named("module gate").Module(); !ok || name != "gate" {
		t.Errorf("got %q, %t", name, ok)
	}
	if name, ok := identity.Admin.Module(); ok {
		t.Errorf("the admin is module %q", name)
	}
}

func TestLoginOfBusdMaySubscribeToEverything(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "gate")
	login, err := b.keys.Login(identity.Busd)
	must(t, err)
	nc, err := nats.Connect(b.server.ClientURL(), login)
	must(t, err)
	t.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync(">")
	must(t, err)
	must(t, nc.Publish(bus.Join("gate"), nil))
	if m, err := sub.NextMsgWithContext(t.Context()); err != nil || m.Subject != bus.Join("gate") {
		t.Errorf("heard %v, %v", m, err)
	}
}
