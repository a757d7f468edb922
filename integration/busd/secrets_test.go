package busd_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// TestSecretsAreNeverSaid runs a bus with a secret in each place where there may be one, lets everything go wrong that names
// what it is about, and looks for the secrets in all that was said.
func TestSecretsAreNeverSaid(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{
		"NATS password": "hunter2-nats", "HTTP token": "hunter2-token", "wrong HTTP token": "hunter2-wrong", "config": "hunter2-config",
		"refused config": "hunter2-refused config", "new config": "hunter2-new config", "email": "hunter2@example.org",
		"password": "hunter2-password", "access token": "syt_hunter2", "IP": "203.0.113.77", "field": "hunter2-field", "query": "hunter2-query",
	}
	external := natstest.Start(t, &server.Options{Username: "bus", Password: secrets["NATS password"]})
	url := strings.Replace(external.ClientURL(), "nats://", "nats://bus:"+secrets["NATS password"]+"@", 1)
	token := filepath.Join(t.TempDir(), "http.token")
	testbed.Write(t, token, secrets["HTTP token"])
	script := filepath.Join(t.TempDir(), "run.sh") // busd passes no password on.
	testbed.Write(t, script, "export MODULEBUS_NATS_URL='"+url+"'\nexec \"$@\"\n")
	config := func(secret string) string {
		told := strings.NewReplacer("run: [", "run: [sh, "+script+", ")
		return told.Replace(fmt.Sprintf("nats: {url: '%s'}\nhttp: {listen: '127.0.0.1:0', token_file: '%s'}\nmodules:\n", url, token) +
			faulty(t, "gate", "    timeout: 300ms\n    config: {secret: '"+secret+"'}\n") +
			faulty(t, "refuses", "    config: {secret: '"+secrets["refused config"]+"'}\n") +
			faulty(t, "mistyped", "    config: {secret: ['"+secrets["config"]+"']}\n"))
	}
	d := testbed.Serve(t, config(secrets["config"]), "--log-level", "trace")
	outside := testbed.Worker(t, url, testbed.Faulty, "outside", "MODULEBUS_LOG_LEVEL=trace")
	outside.Stderr.Line(t, "the roster does not list this module")
	d.Token = secrets["HTTP token"]

	var said bytes.Buffer // by HTTP
	request := func(method, path, body string, headers ...string) {
		t.Helper()
		_, out := d.Request(method, path, []byte(body), headers...)
		fmt.Fprintf(&said, "%s\n", out)
	}
	registration := fmt.Sprintf(`{"email_threepid": {"medium": "email", "address": "%s"}, "request_info": [{"ip": "%s"}]}`, secrets["email"], secrets["IP"])
	for _, user := range []string{"@error", "@panic", "@late", "@refused", "@die"} {
		request("POST", testbed.CreatePath, `{"user_id": "`+user+`:`+secrets["email"]+`"}`)
	}
	request("POST", "/_modulebus/v1/ask/spam_checker/check_registration_for_spam", registration)
	request("POST", "/_modulebus/v1/ask/password_auth_provider/check_3pid_auth", `{"medium": "email", "address": "`+secrets["email"]+`", "password": "`+secrets["password"]+`"}`)
	for _, body := range []string{
		`{"user_id": ["` + secrets["field"] + `"]}`, `{"user_id": {"a": "` + secrets["field"] + `"}}`, `{"room_config": "` + secrets["field"] + `"}`,
		`{"user_id": "` + secrets["field"], `{"user_id": "` + secrets["field"] + "\xff" + `"}`, `"` + secrets["field"] + `"`, `{"user_id": 5, "x": "` + secrets["field"] + `"}`,
	} {
		request("POST", testbed.CreatePath, body)
		request("POST", testbed.CreatePath, body, "Content-Type", "application/x-protobuf")
	}
	request("POST", testbed.CreatePath, `{}`, "Authorization", "Bearer "+secrets["wrong HTTP token"])
	request("POST", testbed.CreatePath, `{}`, "X-Modulebus-Timeout", secrets["field"])
	request("POST", "/_synapse/client/gate?access_token="+secrets["query"], "x", "Authorization", "Bearer "+secrets["access token"])
	request("GET", "/_synapse/client/nobody?access_token="+secrets["query"], "", "Authorization", "Bearer "+secrets["access token"])
	testbed.Eventually(t, "the worker that died is back", func() bool { return d.Module("gate").Workers == 1 })
	d.Reconfigure(config(secrets["new config"]))
	testbed.Eventually(t, "the new configuration is refused", func() bool { return strings.Contains(d.Module("gate").LastError, "config refused") })
	for _, path := range []string{"/_modulebus/v1/modules", "/_modulebus/v1/wants", "/metrics", "/readyz", "/healthz"} {
		request("GET", path, "")
	}
	for _, args := range [][]string{
		{"check", "--config", d.File},
		{"modules", "--url", d.URL, "--token-file", token},
		{"modules", "--json", "--url", d.URL, "--token-file", token},
		{"ask", "user_may_create_room", `{"user_id": "@error:` + secrets["email"] + `"}`, "--url", d.URL, "--token-file", token},
	} {
		_, stdout, stderr := testbed.Run(t, args...)
		fmt.Fprintf(&said, "%s%s", stdout, stderr)
	}
	processes := whatOthersSee(t, d)
	outside.Stop()
	d.Stop()

	const environments = "the arguments and environments of modules"
	everything := map[string][]byte{
		environments: processes,
		"stdout":     d.Stdout.Bytes(), "the log": d.Stderr.Bytes(), "answers": said.Bytes(), "a module's log": outside.Stderr.Bytes(),
	}
	for kind, secret := range secrets {
		for where, text := range everything {
			if where == environments && kind == "NATS password" {
				continue // The script above put it there.
			}
			if i := bytes.Index(text, []byte(secret)); i >= 0 {
				t.Errorf("the %s is in %s: …%s…", kind, where, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
	contains(t, "the log", string(everything["the log"]), "module failed", "callback panicked", "worker ended", "config")
}

// whatOthersSee is what the system tells of the modules' processes.
func whatOthersSee(t *testing.T, d *testbed.Daemon) (all []byte) {
	t.Helper()
	for _, p := range d.Module("gate").Processes {
		for _, name := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, name))
			if err != nil || len(text) == 0 {
				t.Errorf("of process %d there is no %s: %v", p.PID, name, err)
			}
			all = append(all, text...)
		}
	}
	if !bytes.Contains(all, []byte("MODULEBUS_MODULE=gate")) {
		t.Errorf("these are not a module's: %q", all)
	}
	return all
}
