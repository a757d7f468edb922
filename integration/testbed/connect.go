package testbed

import "github.com/nats-io/nats.go"

// Environment is what a worker of a module that busd does not run is told.
func (d *Daemon) Environment(module string) []string {
	d.Helper()
	return environment(d.NATS, module)
}

// environment is what a worker of a module of the server example.com is told.
func environment(nats, module string) []string {
	return []string{"MODULEBUS_NATS_URL=" + nats, "MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=" + module}
}

// Connect connects to busd's NATS as somebody who may do everything there. The connection is closed when the test ends.
func (d *Daemon) Connect(opts ...nats.Option) *nats.Conn {
	d.Helper()
	return d.connect(opts...)
}

// ConnectModule is Connect as a module that busd does not run.
func (d *Daemon) ConnectModule(module string, opts ...nats.Option) *nats.Conn {
	d.Helper()
	return d.connect(append([]nats.Option{nats.Name(module + "/test")}, opts...)...)
}

// ConnectHomeserver is Connect as a program that asks.
func (d *Daemon) ConnectHomeserver(opts ...nats.Option) *nats.Conn {
	d.Helper()
	return d.connect(opts...)
}

func (d *Daemon) connect(opts ...nats.Option) *nats.Conn {
	d.Helper()
	nc, err := nats.Connect(d.NATS, opts...)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(nc.Close)
	return nc
}
