package worker

import (
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// Beat ends the streams of gateways that have been silent for [Options.Silence]. The transport calls it every
// [flow.BeatEvery]. It does not block.
func (wk *Worker) Beat(now time.Time) {
	for _, x := range wk.streams.All() {
		if x.silent(now) > wk.opts.Silence {
			x.terminate(errGatewayLost)
		}
	}
}

// pong answers a gateway's heartbeat, and passes its content to the streams.
func (wk *Worker) pong(to flow.Address, p *frame.Ping) {
	states := make([]frame.State, 0, len(p.States))
	for _, other := range p.States {
		x, ok := wk.streams.Find(other.Token)
		if !ok {
			states = append(states, frame.State{Token: other.Token, Gone: true})
			continue
		}
		states = append(states, x.State(other.Token))
		x.heartbeat(other)
	}
	if p.Answer {
		_ = wk.transport.Send(flow.Control, to, flow.ControlToken, frame.Append(nil, &frame.Pong{States: states})) // If it fails, the next one does.
	}
}
