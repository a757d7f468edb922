package broker

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/credentials"
)

// fileOf is the file that nats.credentials names.
func fileOf(path string) credentials.File {
	return credentials.File{Path: path, Remedy: "have whoever runs NATS make one that counts, and put it in its place"}
}

// checked returns what is wrong with the file of nats.credentials; nil if busd logs in with its own keys. A file that
// other users can read is used, and the log warns of it.
func checked(path string, log zerolog.Logger) error {
	if path == "" {
		return nil
	}
	if fileOf(path).Exposed() {
		log.Warn().Str("file", path).Msg("others can read nats.credentials, and be busd then: chmod 600 the file")
	}
	if err := fileOf(path).Check(time.Now()); err != nil {
		return fmt.Errorf("nats.credentials: %w", err)
	}
	return ours(path)
}

// ours returns an error for credentials that a busd has made for a module or a homeserver.
func ours(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("nats.credentials: %w", err)
	}
	u := identity.Of(text)
	if _, module := u.Module(); !module && u != identity.Homeserver {
		return nil
	}
	return fmt.Errorf("nats.credentials: %s is for the %s of a bus, who may not do what busd does: %s; "+
		"where NATS has what \"busd nats-config\" prints, leave nats.credentials out", path, u, fileOf(path).Remedy)
}

// explained adds what to do to the error of a refused login with the file, or, if path is empty, with busd's own keys.
func explained(err error, path string) error {
	if path == "" {
		return fmt.Errorf("nats.url: %w: give its servers what \"busd nats-config\" prints, or name what they know in nats.credentials", err)
	}
	if wrong := fileOf(path).Check(time.Now()); wrong != nil {
		return fmt.Errorf("nats.credentials: %w: %w", err, wrong)
	}
	return fmt.Errorf("nats.credentials: %w: NATS does not take %s: was it made for this NATS, and is it revoked there?", err, path)
}

// refusals logs the errors of a connection. A refused login is logged once until NATS lets busd in again, because busd
// tries several times a second.
type refusals struct {
	log  zerolog.Logger
	file string
	mu   sync.Mutex
	said bool
}

func (r *refusals) hear(err error) {
	if !credentials.TurnedAway(err) {
		r.log.Error().Err(err).Msg("NATS")
		return
	}
	why := explained(err, r.file)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.said {
		r.log.Error().Err(why).Msg("NATS does not let busd in any more: " +
			"asks fail until it does; busd goes on trying, with what nats.credentials holds then")
	}
	r.said = true
}

// over is called when NATS has let busd in.
func (r *refusals) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = false
}
