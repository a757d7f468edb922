package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// unlimited is a rate limit that nobody reaches.
const unlimited = "{per_second: 100000, burst_count: 100000}"

// homeserverYAML takes the port, the folder, and the modules.
const homeserverYAML = `
server_name: localhost
pid_file: %[2]s/pid
signing_key_path: %[2]s/signing.key
log_config: %[2]s/log.yaml
media_store_path: %[2]s/media
database: {name: sqlite3, args: {database: %[2]s/homeserver.db}}
listeners: [{port: %[1]d, bind_addresses: ["127.0.0.1"], type: http, resources: [{names: [client]}]}]
trusted_key_servers: []
suppress_key_server_warning: true
enable_registration: true
enable_registration_without_verification: true
macaroon_secret_key: bench
form_secret: bench
bcrypt_rounds: 4
report_stats: false
rc_message: ` + unlimited + `
rc_registration: ` + unlimited + `
rc_room_creation: ` + unlimited + `
modules: [%[3]s]
`

const logYAML = `
version: 1
disable_existing_loggers: false
handlers: {out: {class: logging.StreamHandler}}
root: {level: WARNING, handlers: [out]}
`

// synapse is a real Synapse in a process of its own.
type synapse struct {
	*process
	url string // for clients
}

// synapse starts one with these modules, a list in YAML, on the stage's port, and returns when it serves.
func (s *stage) synapse(ctx context.Context, modules string) (*synapse, error) {
	home, err := os.MkdirTemp(s.dir, "synapse-")
	if err != nil {
		return nil, err
	}
	if err := configure(home, s.port, modules); err != nil {
		return nil, err
	}
	config := filepath.Join(home, "homeserver.yaml")
	if _, err := output(ctx, python(), "-m", "synapse.app.homeserver", "-c", config, "--generate-keys"); err != nil {
		return nil, err
	}
	p, err := s.start(filepath.Base(home), []string{"PYTHONPATH=" + s.dir + ":" + s.bridge}, python(), "-m", "synapse.app.homeserver", "-c", config)
	if err != nil {
		return nil, err
	}
	h := &synapse{p, fmt.Sprintf("http://127.0.0.1:%d", s.port)}
	return h, h.ready(ctx)
}

func configure(home string, port int, modules string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(home, "log.yaml"), []byte(logYAML), 0o600),
		os.WriteFile(filepath.Join(home, "homeserver.yaml"), fmt.Appendf(nil, homeserverYAML, port, home, modules), 0o600),
	)
}

// ready waits until it serves.
func (h *synapse) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := call(ctx, http.MethodGet, h.url+"/health", "", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-h.ended:
			return errors.New("it ended before it served") // Its last words are told with those of all that did.
		case <-ctx.Done():
			return h.failed(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
