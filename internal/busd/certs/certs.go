// Package certs makes TLS configurations from PEM files, for doors and for clients. Files are read again when they
// change, so a certificate can be replaced without a restart: later connections use the new one.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/renewed"
)

// Server returns the TLS configuration of a listener. It has the certificate and, if there is an authority, demands
// clients' certificates that the authority signed. It is nil if the configuration names no certificate. An error begins
// with key, which is c's key in the configuration. protocols are those of ALPN; there may be none.
func Server(c config.TLS, key string, log zerolog.Logger, protocols ...string) (*tls.Config, error) {
	if c.Cert == "" {
		return nil, nil
	}
	made, err := open(c, key, log, func(t *tls.Config, authority *x509.CertPool) {
		t.NextProtos = protocols
		if t.ClientCAs = authority; authority != nil {
			t.ClientAuth = tls.RequireAndVerifyClientCert
		}
	})
	if err != nil {
		return nil, err
	}
	outer := made.Value().Clone() // For callers that look at what the server demands.
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return made.Value(), nil }
	return outer, nil
}

// Dialer connects with TLS, each time with the present content of the files.
type Dialer struct {
	made *renewed.Value[*tls.Config]
}

// Client returns a dialer that trusts the configured authority, or the system's if there is none, and shows the
// certificate, if there is one. An error begins with key, which is c's key in the configuration.
func Client(c config.TLS, key string, log zerolog.Logger) (*Dialer, error) {
	made, err := open(c, key, log, func(t *tls.Config, authority *x509.CertPool) { t.RootCAs = authority })
	return &Dialer{made}, err
}

// DialContext connects, and verifies that the server's certificate is for the host in address.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&tls.Dialer{Config: d.made.Value()}).DialContext(ctx, network, address)
}

func open(c config.TLS, key string, log zerolog.Logger, use func(*tls.Config, *x509.CertPool)) (*renewed.Value[*tls.Config], error) {
	again := false
	return renewed.Open(log, func() (*tls.Config, error) {
		t := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.Cert != "" {
			pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			if err != nil {
				return nil, fmt.Errorf("%s: %w (of %s and %s)", key, err, c.Cert, c.Key)
			}
			if odd := config.Outdated(c.Cert, pair.Leaf, time.Now()); odd != "" && again { // Of the first, busd's start tells.
				log.Warn().Msg(key + ".cert: " + odd)
			}
			again = true
			t.Certificates = []tls.Certificate{pair}
		}
		authority, err := pool(c.CA)
		if err != nil {
			return nil, fmt.Errorf("%s.ca: %w", key, err)
		}
		use(t, authority)
		return t, nil
	}, files(c)...)
}

func files(c config.TLS) (files []string) {
	for _, file := range []string{c.CA, c.Cert, c.Key} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// pool reads the authorities in a file; nil without a file.
func pool(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " has no certificate in PEM")
	}
	return pool, nil
}

// Only returns the TLS configuration of a client that trusts only the certificate in the file, for any host. It is for
// a command on the server's machine, which reads the server's own file.
func Only(file string) (*tls.Config, error) {
	pool, err := pool(file)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies.
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	}, nil
}
