package responder

import "github.com/nats-io/nats.go"

// fromStream is a header that JetStream gives to what it reads from a stream.
const fromStream = "Nats-Stream"

// FromStream reports whether JetStream sent a message, out of a stream. Nobody asks like that: a module that may read its store
// can have what it stored sent to any subject, by naming that as the reply subject. NATS looks at no permission there.
func FromStream(m *nats.Msg) bool { return len(m.Header[fromStream]) > 0 }
