package bus

import "bytes"

// headRoom is how many bytes of a message are kept for the headers of a question.
const headRoom = 1 << 10

// fits reports whether the bytes of a question fit a message, together with headers.
func (a *asking) fits(data []byte) bool {
	return len(data)+headRoom <= a.client.requester.MaxPayload()
}

// large reports whether the bytes of a question do not fit a message but can be read in pieces.
func (a *asking) large(data []byte) bool { return a.client.files != nil && !a.fits(data) }

// pull returns the subject on which the module can read its question in pieces until the ask is over. See ADR 32.
func (t *attempt) pull(question []byte) (subject string) {
	if t.file == "" {
		var closeFile func()
		t.file, closeFile = t.asking.client.files.open(t.step.module, bytes.NewReader(question))
		t.asking.files = append(t.asking.files, closeFile)
		t.asking.lent = true
	}
	return t.file
}

// reclaim makes the buffer writable. If a module may still be reading the old buffer, a new one takes its place.
func (a *asking) reclaim() {
	if a.lent {
		a.buffer, a.lent = nil, false
	}
}
