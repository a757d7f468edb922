// Package batch writes and reads the payloads of messages that carry several questions, or several answers. See ADR 64. It is
// pure: what travels together, and when, is decided by packages natsrequest and responder.
package batch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
)

// Most is how many questions there may be in one message.
const Most = 256

// mark begins each payload of questions. It can be read in neither mapping, so that who does not know batches does not take
// one for a question: see [wire.Elsewhere].
const mark = 0

const headSize = 1 + 8

// ErrMalformed is the error of a payload that cannot be read.
var ErrMalformed = errors.New("a batch that cannot be read")

// Question is one of the questions in a message.
type Question struct {
	Timeout time.Duration // what is left to answer, where that is less than the module's own timeout; else 0
	Data    []byte
}

// NameMark stands between the reply subject of a message and the place of a question in it.
const NameMark = "-"

// AppendName adds what makes the reply subject of a message the name of the question at a place, from 0. By its name a question
// is cancelled.
func AppendName(reply []byte, place int) []byte {
	return strconv.AppendUint(append(reply, NameMark...), uint64(place), 10)
}

// Begin returns a payload without a question, in the capacity of frame. The first question has that number, and each other one
// the number that follows.
func Begin(frame []byte, first uint64) []byte {
	return binary.BigEndian.AppendUint64(append(frame[:0], mark), first)
}

// AppendQuestion adds a question to a payload.
func AppendQuestion(frame []byte, q Question) []byte {
	frame = binary.AppendUvarint(frame, uint64(wire.Milliseconds(q.Timeout)))
	return appendBytes(frame, q.Data)
}

// Questions returns the questions of a payload, in the capacity of space, and the number of the first. They have the payload's memory.
func Questions(space []Question, frame []byte) (first uint64, all []Question, err error) {
	if len(frame) < headSize || frame[0] != mark {
		return 0, nil, ErrMalformed
	}
	r := reader{rest: frame[headSize:]}
	n, ok := r.count(Most, func(r *reader) { r.question() })
	if !ok {
		return 0, nil, ErrMalformed
	}
	all = slices.Grow(space[:0], n)
	for range n {
		all = append(all, r.question())
	}
	return binary.BigEndian.Uint64(frame[1:]), all, nil
}

// Answer is one of the answers in a message.
type Answer struct {
	Number uint64 // of the question
	Failed bool
	Code   string // of a failure: what [wire.HeaderErrorCode] has in the answer to a single question
	Text   string // likewise, of [wire.HeaderError]
	Data   []byte // of what has not failed
}

// The kinds of answers.
const (
	answered = 0
	failed   = 1
)

// AppendAnswer adds an answer to a payload, which may be empty before.
func AppendAnswer(frame []byte, a Answer) []byte {
	frame = binary.BigEndian.AppendUint64(frame, a.Number)
	if !a.Failed {
		return appendBytes(append(frame, answered), a.Data)
	}
	frame = appendBytes(append(frame, failed), []byte(a.Code))
	return appendBytes(frame, []byte(a.Text))
}

// mostAnswers is how many answers there may be in one message: as many as fit the 64 KiB that workers fill. Beyond: none
// of them counts. A module may send them unasked, so what it takes to read them is bounded.
const mostAnswers = 6554

// Answers returns the answers of a payload, in the capacity of space. They have the payload's memory. A failure never has an empty code, so
// that none is taken for silence.
func Answers(space []Answer, frame []byte) (all []Answer, err error) {
	r := reader{rest: frame}
	n, ok := r.count(mostAnswers, func(r *reader) { r.answer() })
	if !ok {
		return nil, ErrMalformed
	}
	all = slices.Grow(space[:0], n)
	for range n {
		all = append(all, r.answer())
	}
	return all, nil
}

func appendBytes(frame, data []byte) []byte {
	return append(binary.AppendUvarint(frame, uint64(len(data))), data...)
}

// reader takes parts off the front of a payload. After it has failed, all that it returns is zero.
type reader struct {
	rest   []byte
	failed bool
}

// count is how many parts are left, and whether all of them can be read and there are no more than most.
func (r reader) count(most int, skip func(*reader)) (n int, ok bool) {
	for ; len(r.rest) > 0 && !r.failed && n <= most; n++ {
		skip(&r)
	}
	return n, !r.failed && n <= most
}

func (r *reader) question() Question { return Question{Timeout: r.duration(), Data: r.bytes()} }

func (r *reader) answer() Answer {
	const size = 8 + 1
	head := r.take(size)
	if r.failed {
		return Answer{}
	}
	a := Answer{Number: binary.BigEndian.Uint64(head)}
	switch head[size-1] {
	case answered:
		a.Data = r.bytes()
	case failed:
		a.Failed, a.Code, a.Text = true, cmp.Or(string(r.bytes()), "error"), string(r.bytes())
	default:
		r.failed = true
	}
	return a
}

func (r *reader) duration() time.Duration {
	ms := r.number()
	r.failed = r.failed || ms > math.MaxUint32
	return wire.FromMilliseconds(ms)
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) bytes() []byte { return r.take(r.number()) }

func (r *reader) take(n uint64) (taken []byte) {
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	taken, r.rest = r.rest[:n:n], r.rest[n:]
	return taken
}
