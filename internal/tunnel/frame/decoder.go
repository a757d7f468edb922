package frame

import (
	"encoding/binary"
	"math"
)

// decoder reads a head from its front. The first error sticks, and everything read after it is zero.
type decoder struct {
	raw  []byte
	text string // raw again: strings are slices of this one copy
	at   int
	err  error
}

func newDecoder(head []byte) decoder {
	return decoder{raw: head, text: string(head)}
}

// splitBody returns a decoder of the head in b, and the body behind it.
func splitBody(b []byte) (d decoder, body []byte) {
	size := decoder{raw: b}
	n := size.uint(uint64(len(b)))
	head := b[size.at:]
	if size.err != nil || n > uint64(len(head)) {
		return decoder{err: malformed("body longer than the frame")}, nil
	}
	split := len(head) - int(n)
	return newDecoder(head[:split]), head[split:]
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = malformed(format, args...)
	}
}

// uint reads a number of at most limit, in its shortest spelling.
func (d *decoder) uint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.raw[d.at:])
	if n <= 0 || v > limit || n > 1 && d.raw[d.at+n-1] == 0 {
		d.fail("number at byte %d", d.at)
		return 0
	}
	d.at += n
	return v
}

func (d *decoder) left() uint64 { return uint64(len(d.raw) - d.at) }

func (d *decoder) string() string {
	n := d.uint(d.left())
	if n > d.left() {
		d.fail("string at byte %d", d.at)
	}
	if d.err != nil {
		return ""
	}
	start := d.at
	d.at += int(n)
	return d.text[start:d.at]
}

// fields allocates by the count only as far as the bytes left could hold: a field takes three at least.
func (d *decoder) fields() []Field {
	n := d.uint(min(MaxFields, d.left()/3))
	if n == 0 {
		return nil
	}
	fields := make([]Field, n)
	for i := range fields {
		fields[i] = d.field()
	}
	return fields
}

func (d *decoder) field() Field {
	f := Field{Name: d.string(), Value: d.string()}
	if d.err == nil && !f.valid() {
		d.fail("field %q", f.Name)
	}
	return f
}

// control reads the frames that have no body.
func (d *decoder) control(kind, flags byte) Frame {
	switch kind {
	case typeInfo:
		return d.info()
	case typeEnd:
		return &End{d.uint(math.MaxInt64), d.fields()}
	case typeAccept:
		return &Accept{d.uint(math.MaxInt64)}
	case typeCredit:
		return &Credit{d.uint(math.MaxInt64)}
	case typeReset:
		return d.reset(flags&flagRetryable != 0)
	case typePing:
		return &Ping{flags&flagFin != 0, d.states()}
	case typePong:
		return &Pong{d.states()}
	}
	d.fail("type %d", kind)
	return nil
}

func (d *decoder) info() *Info {
	i := &Info{int(d.uint(999)), d.fields()}
	if d.err == nil && (i.Status < 100 || i.Status > 199 || i.Status == 101) {
		d.fail("informational status %d", i.Status)
	}
	return i
}

func (d *decoder) reset(retryable bool) *Reset {
	r := &Reset{
		Code:      Code(d.uint(math.MaxUint16)),
		Status:    int(d.uint(999)),
		Retryable: retryable,
		Text:      d.string(),
	}
	if len(r.Text) > MaxText {
		d.fail("text of %d bytes", len(r.Text))
	}
	return r
}

// states allocates by the count only as far as the bytes left could hold: a state takes four at least.
func (d *decoder) states() []State {
	n := d.uint(min(MaxStates, d.left()/4))
	if n == 0 {
		return nil
	}
	states := make([]State, n)
	for i := range states {
		states[i] = State{d.string(), d.uint(math.MaxInt64), d.uint(math.MaxInt64), d.uint(1) == 1}
	}
	return states
}

// end returns the error of the whole head, all of which must have been read.
func (d *decoder) end() error {
	if d.left() > 0 {
		d.fail("%d bytes behind the end", d.left())
	}
	return d.err
}
