package broker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
)

// foreign is a NATS with an operator of its own, who made busd's credentials.
type foreign struct {
	*testing.T
	account nkeys.KeyPair
	server  *server.Server
	file    string
	user    string // what the operator calls it; empty for nothing
	log     *waittest.Log
}

func abroad(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{T: t, file: filepath.Join(t.TempDir(), "busd.creds"), log: &waittest.Log{}}
	operator, _ := nkeys.CreateOperator() // It fails without randomness alone.
	f.account, _ = nkeys.CreateAccount()
	name, _ := f.account.PublicKey()
	text, err := jwt.NewAccountClaims(name).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(name, text); err != nil {
		t.Fatal(err)
	}
	trusted, _ := operator.PublicKey()
	f.server = natstest.Start(t, &server.Options{TrustedKeys: []string{trusted}, AccountResolver: resolver})
	return f
}

// issue puts credentials in the file that count until then.
func (f *foreign) issue(until time.Time, mode os.FileMode) {
	f.Helper()
	user, _ := nkeys.CreateUser() // As above.
	name, _ := user.PublicKey()
	claims := jwt.NewUserClaims(name)
	claims.Name, claims.Expires = f.user, until.Unix()
	token, err := claims.Encode(f.account)
	if err != nil {
		f.Fatal(err)
	}
	seed, _ := user.Seed()
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(f.file, text, mode); err != nil {
		f.Fatal(err)
	}
}

func (f *foreign) open() (*broker.Broker, error) {
	f.Helper()
	return broker.Open(broker.Options{
		NATS: config.NATS{URL: f.server.ClientURL(), Credentials: f.file}, Keys: keys(f.T, f.TempDir()), Log: zerolog.New(f.log),
	})
}

func TestExpiredCredentialsOfBusdAreSaidAtTheStart(t *testing.T) {
	t.Parallel()
	f := abroad(t)
	f.issue(time.Now().Add(-time.Minute), 0o600)
	_, err := f.open()
	if err == nil || !strings.Contains(err.Error(), "nats.credentials: "+f.file+" has expired at") || !strings.Contains(err.Error(), "put it in its place") {
		t.Errorf("%v", err)
	}
	f.account, _ = nkeys.CreateAccount() // It fails without randomness alone.
	f.issue(time.Now().Add(time.Hour), 0o600)
	if _, err = f.open(); err == nil || !strings.Contains(err.Error(), "was it made for this NATS") {
		t.Errorf("%v", err)
	}
}

func TestCredentialsOfBusdThatExpireAreSaidOnceAndReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	f := abroad(t)
	f.issue(time.Now().Add(2*time.Second), 0o644)
	b, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if f.log.Count("chmod 600") != 1 {
		t.Error("nobody says that others can read the file")
	}
	waittest.Until(t, "the log says that the credentials have expired", func() bool { return f.log.Count(f.file+" has expired at") > 0 })
	tried := connections(t, f.server)
	waittest.Until(t, "busd goes on trying", func() bool { return connections(t, f.server) > tried+5 })
	f.issue(time.Now().Add(time.Hour), 0o600)
	waittest.Until(t, "busd is let in again", b.Conn.IsConnected)
	// In the second in which they expire, NATS may let busd in once more.
	if said, back := f.log.Count("does not let busd in"), f.log.Count("NATS is back"); said > back+1 {
		t.Errorf("the log says %d times that NATS does not let busd in, and %d times that it does", said, back)
	}
}

func TestCredentialsOfSomebodyElseOnTheBusAreNotBusds(t *testing.T) {
	t.Parallel()
	f := abroad(t)
	for name, u := range map[string]identity.User{"module gate": identity.Module("gate"), "homeserver": identity.Homeserver} {
		text, err := keys(t, t.TempDir()).Credentials(u)
		if err == nil {
			err = os.WriteFile(f.file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.open(); err == nil || !strings.Contains(err.Error(), "is for the "+name+" of a bus") {
			t.Errorf("%v", err)
		}
	}
}

func TestOperatorMayCallBusdHomeserver(t *testing.T) {
	t.Parallel()
	f := abroad(t)
	f.user = identity.Homeserver.String()
	f.issue(time.Now().Add(time.Hour), 0o600)
	b, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}
