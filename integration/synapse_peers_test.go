//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// peer is another homeserver.
type peer struct{ s *synapse }

// emailConfig has Synapse send email to a server that throws it away.
func emailConfig(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(c)
		}
	}()
	return fmt.Sprintf(`
email:
  smtp_host: 127.0.0.1
  smtp_port: %d
  enable_tls: false
  notif_from: "Test <noreply@example.org>"
`, l.Addr().(*net.TCPAddr).Port)
}

// swallow speaks as much SMTP as it takes to be given a mail.
func swallow(c net.Conn) {
	defer c.Close()
	say := func(line string) { _, _ = fmt.Fprint(c, line+"\r\n") } // It fails when the client is gone.
	say("220 test")
	lines := bufio.NewScanner(c)
	for data := false; lines.Scan(); {
		line := strings.ToUpper(lines.Text())
		switch {
		case data && line == ".":
			data = false
			say("250 ok")
		case data:
		case line == "DATA":
			data = true
			say("354 go on")
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
