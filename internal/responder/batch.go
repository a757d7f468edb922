package responder

import (
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	wirebatch "github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// batch is the requests of one message. Goroutines take them one by one; none takes a request that another has.
type batch struct {
	answers string // where they are answered
	first   uint64 // the number of the first
	all     []nats.Msg
	taken   atomic.Int64
	standby atomic.Bool // a goroutine has been started that has taken none yet
}

// request is one request, of a batch or by itself.
type request struct {
	*nats.Msg

	of    *batch // nil where it is by itself
	place int
}

// next returns a request that nobody has taken, and whether there are more. Its message is nil when there is none.
func (b *batch) next() (r request, more bool) {
	i := int(b.taken.Add(1)) - 1
	if i >= len(b.all) {
		return request{}, false
	}
	return request{&b.all[i], b, i}, i+1 < len(b.all)
}

// unpack returns the requests of a message that carries several; nil where it is one. What cannot be answered is given back whole, and
// comes again in messages of their own.
func (r *Responder) unpack(m *nats.Msg) *batch {
	if r.options.Answers == nil || len(m.Header) == 0 {
		return nil
	}
	answers := wire.Header(m, wire.HeaderBatch)
	if answers == "" {
		return nil
	}
	first, questions, err := wirebatch.Questions(m.Data)
	if err != nil || !r.options.Answers(answers) || !subjects.MayReply(m.Subject, m.Reply) {
		r.replyAlone(m, r.options.Spell(Trouble{Busy, "a batch that cannot be answered"}))
		return &batch{}
	}
	if len(questions) == 0 { // Somebody finds out whether answers come through.
		r.answers.add(answers, wirebatch.Answer{Number: first}, maxAnswers)
	}
	return &batch{answers: answers, first: first, all: messages(m, questions)}
}

// messages are the questions, each as the message that it would be by itself.
func messages(of *nats.Msg, questions []wirebatch.Question) []nats.Msg {
	names := make([]byte, 0, len(questions)*(len(of.Reply)+len("-255")))
	all := make([]nats.Msg, len(questions))
	for i, q := range questions {
		names = wirebatch.AppendName(append(names, of.Reply...), i)
		all[i] = nats.Msg{Subject: of.Subject, Sub: of.Sub, Data: q.Data}
		if q.Timeout > 0 {
			all[i].Header = nats.Header{wire.HeaderTimeout: {strconv.FormatUint(uint64(wire.Milliseconds(q.Timeout)), 10)}}
		}
	}
	named, at := string(names), 0 // All names in one piece of memory.
	for i := range all {
		size := len(of.Reply) + len(wirebatch.NameMark) + digits(i)
		all[i].Reply, at = named[at:at+size], at+size
	}
	return all
}

func digits(n int) (count int) {
	for count = 1; n >= 10; n /= 10 {
		count++
	}
	return count
}

// replyTogether answers a request of a batch, with others that are answered at about the same time.
func (r *Responder) replyTogether(q request, a Answer) {
	const around = 64 // More than what is written around an answer.
	most := int(r.nc.MaxPayload())
	if len(a.Data)+around > most {
		a = r.tooLarge(q.Msg, a)
	}
	answer := wirebatch.Answer{Number: q.of.first + uint64(q.place), Data: a.Data}
	if code, text := a.Header.Get(wire.HeaderErrorCode), a.Header.Get(wire.HeaderError); code != "" || text != "" {
		answer = wirebatch.Answer{Number: answer.Number, Failed: true, Code: code, Text: text}
	}
	r.answers.add(q.of.answers, answer, min(most-around, maxAnswers))
}

func (r *Responder) publishAnswers(to string, frame []byte) {
	if err := r.nc.Publish(to, frame); err != nil {
		r.options.Log.Warn().Err(err).Int("bytes", len(frame)).Msg("cannot answer")
	}
}
