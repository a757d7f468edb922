package modulekit

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// unreachable is where no NATS server is: nothing can listen on port 0.
const unreachable = "nats://user:s3cret@127.0.0.1:0"

func TestExecute(t *testing.T) {
	t.Parallel()
	module := Module[struct{}]{New: func(struct{}, *ModuleAPI) error { return nil }}
	required := []string{"--server-name", "example.com", "--module", "demo"}
	with := func(args ...string) []string { return append(append([]string(nil), required...), args...) }
	tests := map[string]struct {
		args   []string
		env    map[string]string
		status int
		says   string
	}{
		"nothing":                           {nil, nil, exitUsage, "--server-name and --module are required"},
		"no module":                         {required[:2], nil, exitUsage, "--server-name and --module are required"},
		"no server name":                    {required[2:], nil, exitUsage, "--server-name and --module are required"},
		"an unknown flag":                   {with("--nope"), nil, exitUsage, "flag provided but not defined: -nope"},
		"a flag without its value":          {with("--nats"), nil, exitUsage, "flag needs an argument: -nats"},
		"a log level that is none":          {with("--log-level", "loud"), nil, exitUsage, `--log-level "loud": use trace, debug`},
		"a secret, and an unknown flag":     {with("--nope"), map[string]string{"MODULEBUS_NATS_URL": unreachable}, exitUsage, "(default \"nats://127.0.0.1:4222\")"},
		"a secret in what is no URL":        {with("--nats", "nats://user:s3cret@a b:4222"), nil, exitUsage, "--nats is not the URL"},
		"a secret in one of several":        {with("--nats", "127.0.0.1:4222,nats://user:s3cret@%zz"), nil, exitUsage, "--nats is not the URL"},
		"a secret that breaks the URL":      {with("--nats", "nats://user:pass/s3cret@localhost"), nil, exitUsage, "--nats is not the URL"},
		"a secret in the environment":       {with(), map[string]string{"MODULEBUS_NATS_URL": "nats://user:s3cret@%zz"}, exitUsage, "--nats is not the URL"},
		"stopped while it waits for NATS":   {with("--nats", unreachable), nil, exitDrained, "cannot reach NATS"},
		"told by the environment":           {nil, map[string]string{"MODULEBUS_NATS_URL": unreachable, "MODULEBUS_SERVER_NAME": "example.com", "MODULEBUS_MODULE": "demo"}, exitDrained, "cannot reach NATS"},
		"a credentials file that is absent": {with("--nats", unreachable, "--credentials", "/nowhere"), nil, exitCrashed, "no such file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var stderr bytes.Buffer
			status := execute(ctx, module, tt.args, func(name string) string { return tt.env[name] }, &stderr)
			if status != tt.status || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("status %d, want %d and %q in:\n%s", status, tt.status, tt.says, &stderr)
			}
			if strings.Contains(stderr.String(), "s3cret") {
				t.Errorf("a secret is printed:\n%s", &stderr)
			}
		})
	}
}

func TestFlagsCountMoreThanTheEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"MODULEBUS_NATS_URL": "nats://env:1", "MODULEBUS_SERVER_NAME": "env", "MODULEBUS_MODULE": "env", "MODULEBUS_WORKER": "w1",
	}
	s, err := parseFlags([]string{"--module", "flag"}, func(name string) string { return env[name] }, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	got := [...]string{s.nats, s.options.ServerName, s.options.Module, s.options.Worker, s.level}
	if want := [...]string{"nats://env:1", "env", "flag", "w1", "info"}; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
