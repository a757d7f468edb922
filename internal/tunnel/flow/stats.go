package flow

import (
	"sync/atomic"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// Stats count what happens to the streams of one process. They only grow, except Open.
type Stats struct {
	FramesIn, FramesOut, BytesIn, BytesOut atomic.Int64
	CreditWait                             atomic.Int64 // nanoseconds spent waiting for credit
	Open                                   atomic.Int64 // present number of streams
	ResetsIn, ResetsOut                    Resets       // received, and sent
}

// Received counts a received frame.
func (s *Stats) Received(frame []byte) {
	s.FramesIn.Add(1)
	s.BytesIn.Add(int64(len(frame)))
}

// Sent counts a sent frame.
func (s *Stats) Sent(frame []byte) {
	s.FramesOut.Add(1)
	s.BytesOut.Add(int64(len(frame)))
}

// Resets count resets by their code.
type Resets [16]atomic.Int64

// Count counts a reset. Codes that are not known count as 0.
func (r *Resets) Count(c frame.Code) {
	if int(c) >= len(r) {
		c = 0
	}
	r[c].Add(1)
}

// Load returns how many resets had the code.
func (r *Resets) Load(c frame.Code) int64 { return r[c].Load() }
