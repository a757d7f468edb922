package modulekit

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// checkCredentials says what is wrong with the credentials file, before NATS does it in other words. A file that others can
// read is used, and the log warns.
func (s *settings) checkCredentials() error {
	if s.credentials == "" {
		return nil
	}
	info, err := os.Stat(s.credentials) //nolint:gosec // Whoever runs the module names its files.
	if err != nil {
		return fmt.Errorf("--credentials: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		s.options.Log.Warn().Str("file", s.credentials).Msg("others can read the credentials, and be this module then: chmod 600 the file")
	}
	text, err := os.ReadFile(s.credentials) //nolint:gosec // As above.
	if err != nil {
		return fmt.Errorf("--credentials: %w", err)
	}
	token, noToken := nkeys.ParseDecoratedJWT(text)
	_, noKey := nkeys.ParseDecoratedUserNKey(text)
	if errors.Join(noToken, noKey) != nil {
		return fmt.Errorf("--credentials: %s is no NATS credentials file, or not the whole of it: take what \"busd credentials %s\" prints",
			s.credentials, s.options.Module)
	}
	return s.checkTime(token, time.Now())
}

// checkTime says when credentials count, if that is not now: NATS says no more than that it does not take them.
func (s *settings) checkTime(token string, now time.Time) error {
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return fmt.Errorf("--credentials: %s holds no NATS user: take what \"busd credentials %s\" prints", s.credentials, s.options.Module)
	}
	at := func(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
	switch {
	case claims.Expires != 0 && now.Unix() >= claims.Expires:
		return fmt.Errorf("--credentials: %s has expired at %s, and it is %s: take what \"busd credentials %s\" prints now, or set the clock",
			s.credentials, at(claims.Expires), at(now.Unix()), s.options.Module)
	case claims.NotBefore > now.Unix():
		return fmt.Errorf("--credentials: %s counts from %s on, and it is %s: set the clock, or wait", s.credentials, at(claims.NotBefore), at(now.Unix()))
	}
	return nil
}

// explain says what to do when NATS turns the module away.
func (s *settings) explain(err error) error {
	switch {
	case errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("%w: take what \"busd credentials %s\" prints now", err, s.options.Module)
	case !errors.Is(err, nats.ErrAuthorization):
		return err
	case s.credentials == "":
		return fmt.Errorf("%w: NATS wants credentials: name a file with what \"busd credentials %s\" prints in --credentials",
			err, s.options.Module)
	}
	return fmt.Errorf("%w: NATS does not take %s: is module %s listed in busd.yaml, is this the busd, "+
		"and is the file what \"busd credentials %[3]s\" prints now?", err, s.credentials, s.options.Module)
}
