package antispam

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// dialTime is how long connecting to a server may take, all of its addresses together. Beyond: the question that waits for the
	// connection has failed.
	dialTime = 5 * time.Second

	// dialPause is how long an address may take before the next one is tried as well (RFC 8305, section 5).
	dialPause = 250 * time.Millisecond
)

// dial connects to a host at whichever of its addresses answers first. Package net would wait for a dead one of the same family.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return race(ctx, found, func(ctx context.Context, at string) (net.Conn, error) {
		return d.DialContext(ctx, network, net.JoinHostPort(at, port))
	})
}

// attempt is what came of connecting to an address.
type attempt struct {
	conn net.Conn
	err  error
}

// race connects to the addresses, each [dialPause] after the one before, or as soon as one has failed. It returns the first
// connection, and closes all others.
func race(ctx context.Context, addresses []string, connect func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, next := make(chan attempt), time.NewTimer(0)
	defer next.Stop()
	var failed error
	for failures, begun := 0, 0; failures < len(addresses); {
		select {
		case <-next.C:
			if begun < len(addresses) {
				go try(ctx, addresses[begun], connect, ended)
				begun++
				next.Reset(dialPause)
			}
		case a := <-ended:
			if a.err == nil {
				return a.conn, nil
			}
			failures, failed = failures+1, errors.Join(failed, a.err)
			next.Reset(0)
		case <-ctx.Done():
			return nil, errors.Join(failed, ctx.Err())
		}
	}
	return nil, failed
}

// try connects to one address. A connection that is too late is closed.
func try(ctx context.Context, address string, connect func(context.Context, string) (net.Conn, error), ended chan<- attempt) {
	conn, err := connect(ctx, address)
	select {
	case ended <- attempt{conn, err}:
	case <-ctx.Done():
		if err == nil {
			_ = conn.Close()
		}
	}
}
