// Package certstest issues certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates. Its files are gone with the test.
type Authority struct {
	// File has its own certificate.
	File string

	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New returns a new authority.
func New(t *testing.T) *Authority {
	t.Helper()
	a := &Authority{t: t, File: filepath.Join(t.TempDir(), "ca.pem"), key: newKey(t)}
	a.cert = &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert.NotBefore, a.cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	a.write(a.File, "CERTIFICATE", a.sign(a.cert, a.key))
	return a
}

// Issue returns files with a certificate for a host's name or address, and its key. Servers and clients may use it.
func (a *Authority) Issue(host string) (cert, key string) {
	a.t.Helper()
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.Replace(cert, key, host)
	return cert, key
}

// Replace writes another certificate into those files. Each file changes at once.
func (a *Authority) Replace(cert, key, host string) {
	a.t.Helper()
	a.ReplaceUntil(cert, key, host, time.Now().Add(time.Hour))
}

// ReplaceUntil is Replace, with a certificate that expires at a time.
func (a *Authority) ReplaceUntil(cert, key, host string, until time.Time) {
	a.t.Helper()
	c := &x509.Certificate{
		NotBefore: until.Add(-2 * time.Hour), NotAfter: until,
		Subject:     pkix.Name{CommonName: host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	k := newKey(a.t)
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(key, "EC PRIVATE KEY", der)
	a.write(cert, "CERTIFICATE", a.sign(c, k))
}

func (a *Authority) sign(c *x509.Certificate, k *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *Authority) write(file, kind string, der []byte) {
	a.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		a.t.Fatal(err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
