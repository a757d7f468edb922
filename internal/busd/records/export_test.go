package records

import (
	"context"

	"github.com/modulebus/modulebus/decision"
)

// Between returns the newest records of a part of the stream, twice as many as are wanted at most.
func (j *Journal) Between(ctx context.Context, low, high uint64, most int) ([]decision.Record, error) {
	found, _, err := j.between(ctx, &decision.Filter{}, low, high, most, func(string) bool { return false })
	return found, err
}

// AppendRecord is what the stream's JSON is made with.
var AppendRecord = appendRecord
