package records

import (
	"context"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/subjects"
)

// Explained adds to an error of JetStream what the operator of a server can do about it.
func Explained(server subjects.Server, err error) error {
	return (&Journal{server: server}).explained(err)
}

// Between returns the newest records of a part of the stream, twice as many as are wanted at most.
func (j *Journal) Between(ctx context.Context, low, high uint64, most int) ([]decision.Record, error) {
	found, _, err := j.between(ctx, &decision.Filter{}, low, high, most, func(string) bool { return false })
	return found, err
}

// Encoded returns the newest record in memory as the stream has it.
func (r *Recorder) Encoded() ([]byte, error) {
	_, next := r.ring.bounds()
	entries, _, _ := r.ring.read(nil, next-1, 1)
	w := encoder{ids: r.ids}
	return w.append(nil, &entries[0])
}
