package modulekit

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/credentials"
)

// checkCredentials returns what is wrong with the credentials file, more clearly than NATS would. A file that other
// users can read, or that is another module's, is used, and the log says so.
func (s *settings) checkCredentials() error {
	if s.credentials == "" {
		return nil
	}
	file := credentials.File{Path: s.credentials, Remedy: fmt.Sprintf("take what \"busd credentials %s\" prints", s.options.Module)}
	if file.Exposed() {
		s.options.Log.Warn().Str("file", s.credentials).Msg("others can read the credentials, and be this module then: chmod 600 the file")
	}
	if err := file.Check(time.Now()); err != nil {
		return fmt.Errorf("--credentials: %w", err)
	}
	if of := file.Module(); of != "" && of != s.options.Module {
		s.options.Log.Error().Str("file", s.credentials).Str("of", of).Msg("these are the credentials of another module, and NATS turns away what " +
			"does not belong to that: " + file.Remedy)
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
