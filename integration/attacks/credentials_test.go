package attacks_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestCredentialsThatAreBadAreExplained has a module with credentials that NATS cannot take.
func TestCredentialsThatAreBadAreExplained(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, "modules: [{module: gate}, {module: honest}, {module: other}]\n")
	elsewhere := testbed.Prepare(t, "modules: [{module: gate}]\n")
	good, err := os.ReadFile(d.Credentials("gate"))
	if err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(t.TempDir(), "truncated.creds")
	testbed.Write(t, truncated, string(good[:len(good)/2]))
	for name, c := range map[string]struct{ file, want string }{
		"none":           {"", "NATS wants credentials"},
		"not there":      {"/nowhere", "no such file"},
		"truncated":      {truncated, "not the whole of it"},
		"of another bus": {elsewhere.Credentials("gate"), "is this the busd"},
		"a folder":       {t.TempDir(), "--credentials"},
		"expired":        {between(t, time.Time{}, time.Now().Add(-5*time.Minute)), "has expired at"},
		"not yet valid":  {between(t, time.Now().Add(5*time.Minute), time.Time{}), "counts from"},
		"revoked":        {unlisted(t, d), "is module gate listed in busd.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"MODULEBUS_NATS_URL=" + d.NATS, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=gate", "MODULEBUS_CREDENTIALS=" + c.file}
			status, _, stderr := testbed.Command(t, testbed.Faulty).With(env...).Run()
			if status != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("status %d, %s", status, stderr)
			}
		})
	}
	others := testbed.Command(t, testbed.Faulty).With(d.Environment("gate")...).With("MODULEBUS_CREDENTIALS=" + d.Credentials("honest")).Start()
	others.Stderr.Line(t, "credentials of another module", `"of":"honest"`, "busd credentials gate")
	others.Kill()
	readable := filepath.Join(t.TempDir(), "readable.creds")
	testbed.Write(t, readable, string(good))
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	m := testbed.Command(t, testbed.Faulty).With(d.Environment("gate")...).With("MODULEBUS_CREDENTIALS=" + readable).Start()
	m.Stderr.Line(t, "others can read the credentials", "chmod 600")
	testbed.Eventually(t, "it is asked all the same", func() bool { return d.Create("@refused:example.com").DecidedBy == "gate" })
	m.Stop()
}

// between is a credentials file that counts from one time to another, each zero for always.
func between(t *testing.T, from, to time.Time) (file string) {
	t.Helper()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(public)
	if !from.IsZero() {
		claims.NotBefore = from.Unix()
	}
	if !to.IsZero() {
		claims.Expires = to.Unix()
	}
	token, err := claims.Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "user.creds")
	testbed.Write(t, file, string(text))
	return file
}

// unlisted are credentials that NATS knows to be turned away.
func unlisted(t *testing.T, d *testbed.Daemon) (file string) {
	t.Helper()
	file = d.Credentials("other")
	d.Edit(", {module: other}", "")
	testbed.Eventually(t, "the module is turned away", func() bool {
		nc, err := nats.Connect(d.NATS, nats.UserCredentials(file))
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	return file
}
