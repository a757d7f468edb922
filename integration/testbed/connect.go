package testbed

import (
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/subjects"
)

// Credentials are a file with those of a user, which busd prints: of a module, or --homeserver, or --admin. It is empty where
// NATS is not inside busd, and wants none.
func (d *Daemon) Credentials(user string) string {
	d.Helper()
	if d.Config().NATS.URL != "" && !d.Guarded {
		return ""
	}
	home := "HOME=" + d.Cmd.Dir // Where its state is, if the configuration does not say.
	status, text, problem := Command(d.T, Busd, "credentials", "--config", d.File, user).With(home).Run()
	if status != 0 {
		d.Fatalf("busd prints no credentials of %s: %s", user, problem)
	}
	file := filepath.Join(d.TempDir(), strings.Trim(user, "-")+".creds")
	Write(d.T, file, text)
	return file
}

// Config is what the configuration file says.
func (d *Daemon) Config() *config.Config {
	d.Helper()
	c, err := config.Read(d.File)
	if err != nil {
		d.Fatal(err)
	}
	return c
}

// Environment is what a worker of a module that busd does not run is told.
func (d *Daemon) Environment(module string) []string {
	d.Helper()
	env := environment(d.NATS, module)
	if file := d.Credentials(module); file != "" {
		env = append(env, "MODULEBUS_CREDENTIALS="+file)
	}
	return env
}

// environment is what a worker of a module of the server example.com is told.
func environment(nats, module string) []string {
	return []string{"MODULEBUS_NATS_URL=" + nats, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=" + module}
}

// Connect connects to busd's NATS as somebody who may do everything there. The connection is closed when the test ends.
func (d *Daemon) Connect(opts ...nats.Option) *nats.Conn {
	d.Helper()
	return d.connect("--admin", opts)
}

// ConnectModule is Connect as a module that busd does not run.
func (d *Daemon) ConnectModule(module string, opts ...nats.Option) *nats.Conn {
	d.Helper()
	// The name is shown, and the inbox is the one that the module may listen to.
	named := []nats.Option{nats.Name(module + "/test"), nats.CustomInboxPrefix(subjects.For("example.com").Inbox(module, "test"))}
	return d.connect(module, append(named, opts...))
}

// ConnectHomeserver is Connect as a program that asks.
func (d *Daemon) ConnectHomeserver(opts ...nats.Option) *nats.Conn {
	d.Helper()
	return d.connect("--homeserver", opts)
}

func (d *Daemon) connect(user string, opts []nats.Option) *nats.Conn {
	d.Helper()
	return d.ConnectWith(d.Credentials(user), opts...)
}

// ConnectWith is Connect with a credentials file that the test has already; empty for none.
func (d *Daemon) ConnectWith(file string, opts ...nats.Option) *nats.Conn {
	d.Helper()
	if file != "" {
		opts = append(opts, nats.UserCredentials(file))
	}
	nc, err := nats.Connect(d.NATS, opts...)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(nc.Close)
	return nc
}
