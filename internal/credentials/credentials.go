// Package credentials checks a NATS credentials file before it is used, and says what is wrong with it. NATS itself would only say
// that it refuses the client.
//
//	err := credentials.File{Path: "gate.creds", Remedy: `take what "busd credentials gate" prints`}.Check(time.Now())
package credentials

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// File is a NATS credentials file.
type File struct {
	Path   string
	Remedy string // how to come by a good one
}

// Check says what is wrong with the file at that time, and what to do. It says nothing of what only NATS knows, such as whether it
// was made for this NATS. Its errors hold nothing secret.
func (f File) Check(now time.Time) error {
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return fmt.Errorf("%w: %s", err, f.Remedy)
	}
	token, noToken := nkeys.ParseDecoratedJWT(text)
	_, noKey := nkeys.ParseDecoratedUserNKey(text)
	if errors.Join(noToken, noKey) != nil {
		return fmt.Errorf("%s is no NATS credentials file, or not the whole of it: %s", f.Path, f.Remedy)
	}
	return f.checkTime(token, now)
}

// checkTime says when the credentials count, if that is not now.
func (f File) checkTime(token string, now time.Time) error {
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return fmt.Errorf("%s holds no NATS user: %s", f.Path, f.Remedy)
	}
	at := func(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
	switch {
	case claims.Expires != 0 && now.Unix() >= claims.Expires:
		return fmt.Errorf("%s has expired at %s, and it is %s: %s, or set the clock", f.Path, at(claims.Expires), at(now.Unix()), f.Remedy)
	case claims.NotBefore > now.Unix():
		return fmt.Errorf("%s counts from %s on, and it is %s: set the clock, or wait", f.Path, at(claims.NotBefore), at(now.Unix()))
	}
	return nil
}

// Exposed reports whether others than the file's owner can read it.
func (f File) Exposed() bool {
	info, err := os.Stat(f.Path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

// Module is the module that a busd made the credentials for; empty if it is not one's, or the file is none.
func (f File) Module() (name string) {
	text, err := os.ReadFile(f.Path)
	if err != nil {
		return ""
	}
	token, err := nkeys.ParseDecoratedJWT(text)
	if err != nil {
		return ""
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil || len(claims.Pub.Allow) == 0 { // Any operator of a NATS may name a user so: a busd also says on which subjects it may publish.
		return ""
	}
	if name, ok := strings.CutPrefix(claims.Name, "module "); ok {
		return name
	}
	return ""
}

// TurnedAway reports whether an error says that NATS does not take the credentials that it was shown, or takes them no more.
func TurnedAway(err error) bool {
	for _, refusal := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
