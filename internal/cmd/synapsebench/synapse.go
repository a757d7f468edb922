package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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

// joined is join, once Synapse has heard what a busd that was ready after it wants to be asked. Until then it refuses.
func (h *synapse) joined(ctx context.Context, name string) (c *client, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		if c, err = h.join(ctx, fmt.Sprintf("%s-%d", name, attempt)); err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// join registers a user, who creates a room.
func (h *synapse) join(ctx context.Context, name string) (*client, error) {
	var user struct {
		Token string `json:"access_token"`
	}
	registration := map[string]any{"username": name, "password": "secret", "auth": map[string]any{"type": "m.login.dummy"}}
	status, err := call(ctx, http.MethodPost, h.url+"/_matrix/client/v3/register", "", registration, &user)
	if err != nil || user.Token == "" {
		return nil, h.failed(fmt.Errorf("registration has status %d: %w", status, err))
	}
	var room struct {
		ID string `json:"room_id"`
	}
	status, err = call(ctx, http.MethodPost, h.url+"/_matrix/client/v3/createRoom", user.Token, map[string]any{}, &room)
	if err != nil || room.ID == "" {
		return nil, h.failed(fmt.Errorf("creating a room has status %d: %w", status, err))
	}
	return &client{url: h.url + "/_matrix/client/v3/rooms/" + url.PathEscape(room.ID) + "/send/m.room.message/", token: user.Token}, nil
}
